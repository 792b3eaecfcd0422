FROM python:3.13-slim
WORKDIR /app
RUN useradd --create-home confiido
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY confiido_booking confiido_booking
COPY api api
RUN pip install --no-cache-dir --constraint constraints.txt ".[api,cli]"
USER confiido
EXPOSE 8000
CMD ["confiido", "serve", "--host", "0.0.0.0", "--port", "8000"]
