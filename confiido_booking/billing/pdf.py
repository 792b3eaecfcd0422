"""The page that is sent: seller, client, lines, taxes, totals, a pay link (MONEY: its font prints ₹).

Needs the extra ``confiido-booking[pdf]``. Noto Sans is shipped in ``fonts`` under the SIL Open Font License.
"""

from datetime import UTC
from decimal import Decimal
from pathlib import Path

from fpdf import FPDF, FontFace
from fpdf.enums import Align, TableBordersLayout, XPos, YPos
from fpdf.fonts import TTFFont

from confiido_booking import times
from confiido_booking.billing.drafting import seller
from confiido_booking.billing.models import InvoiceStatus, Kind, Party, Stored
from confiido_booking.billing.reading import Statement, pay_link
from confiido_booking.money import shown as amount
from confiido_booking.settings import Settings

_INK, _GREY, _LIGHT, _ACCENT = (31, 36, 48), (110, 118, 134), (228, 231, 237), (36, 84, 160)
_STATUS_INK = {
    InvoiceStatus.PAID: (25, 120, 72),
    InvoiceStatus.OVERDUE: (178, 40, 40),
    InvoiceStatus.VOID: (178, 40, 40),
}
_FONTS = Path(__file__).parent / "fonts"
_NONE = "\N{EN DASH}"
_MARGIN, _WIDTH = 18, 210 - 2 * 18
_SUMS_AT = 110  # mm from the left, where the totals begin


def render(statement: Statement, settings: Settings) -> bytes:
    """The document as PDF, A4. What is paid and outstanding is of now; all else as it was issued."""
    page = _Page(statement, settings)
    try:
        page.draw()
        return bytes(page.output())
    finally:
        page.close_fonts()


def percent(rate: Decimal) -> str:
    """``18%``, ``2.5%``."""
    return f"{rate.normalize():f}%"


class _Page(FPDF):
    def __init__(self, statement: Statement, settings: Settings) -> None:
        super().__init__(format="A4")
        self.statement, self.invoice, self.balance = statement, statement.invoice, statement.balance
        self.link_to = pay_link(statement, settings)
        self.zone = times.zone(settings.timezone)
        self.seller = self.invoice.seller if self.invoice.seller.name else seller(settings)
        self.title_ = "Credit note" if self.invoice.kind is Kind.CREDIT_NOTE else "Invoice"
        self.add_font("Noto", "", _FONTS / "NotoSans-Regular.ttf")
        self.add_font("Noto", "B", _FONTS / "NotoSans-Bold.ttf")
        self.set_margins(_MARGIN, _MARGIN)
        self.set_auto_page_break(auto=True, margin=24)
        self.alias_nb_pages()
        self.set_title(f"{self.title_} {self.invoice.number or ''}".strip())
        self.set_author(self.seller.name or "")
        self.set_creation_date((self.invoice.issued_at or self.invoice.created_at).astimezone(UTC))

    def header(self) -> None:
        self.set_fill_color(*_ACCENT)
        self.rect(0, 0, 210, 3, style="F")
        stamp = {InvoiceStatus.VOID: "VOID", InvoiceStatus.DRAFT: "DRAFT"}.get(self.balance.status)
        if stamp:
            with self.local_context(text_color=(238, 226, 226)), self.rotation(35, 105, 150):
                self.set_font("Noto", "B", 110)
                self.text(105 - self.get_string_width(stamp) / 2, 165, stamp)
        self.set_y(_MARGIN)

    def footer(self) -> None:
        self.set_y(-16)
        self._ink(_GREY, 8)
        name = f"{self.seller.name or ''}  ·  {self.title_} {self.invoice.number or 'draft'}"
        self.cell(_WIDTH / 2, 5, name)
        self.cell(_WIDTH / 2, 5, f"{self.page_no()} / {{nb}}", align=Align.R)

    def close_fonts(self) -> None:
        """fpdf2 leaves the files of its fonts open."""
        for font in self.fonts.values():
            if isinstance(font, TTFFont):
                font.ttfont.close()

    def draw(self) -> None:
        self.add_page()
        self._heading()
        self._parties()
        self._lines()
        self._sums()
        self._remarks()

    def _ink(self, colour: tuple[int, int, int], size: float, *, bold: bool = False) -> None:
        self.set_text_color(*colour)
        self.set_font("Noto", "B" if bold else "", size)

    def _heading(self) -> None:
        top = self.get_y()
        self._ink(_INK, 15, bold=True)
        self.multi_cell(100, 8, self.seller.name or "", new_x=XPos.LMARGIN, new_y=YPos.NEXT, align=Align.L)
        self._ink(_GREY, 9)
        self._paragraph(100, _without_name(self.seller))
        bottom = self.get_y()
        self.set_xy(_SUMS_AT, top)
        self._ink(_ACCENT, 22, bold=True)
        self.cell(_MARGIN + _WIDTH - _SUMS_AT, 9, self.title_.upper(), align=Align.R, new_x=XPos.LEFT, new_y=YPos.NEXT)
        self._ink(_GREY, 11)
        number = self.invoice.number or "not issued"
        self.cell(_MARGIN + _WIDTH - _SUMS_AT, 7, number, align=Align.R, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_y(max(bottom, self.get_y()) + 6)
        self._rule()
        self.ln(6)

    def _parties(self) -> None:
        top = self.get_y()
        self._label("Billed to")
        self._ink(_INK, 11, bold=True)
        name = self.invoice.client.name or self.invoice.client.email or _NONE
        self.multi_cell(88, 6, name, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align=Align.L)
        self._ink(_INK, 9)
        self._paragraph(88, _without_name(self.invoice.client))
        bottom = self.get_y()
        self.set_y(top)
        for label, value, ink in self._facts():
            self.set_x(_SUMS_AT)
            self._ink(_GREY, 9)
            self.cell(30, 6, label)
            self._ink(ink, 9, bold=True)
            self.cell(_MARGIN + _WIDTH - _SUMS_AT - 30, 6, value, align=Align.R, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_y(max(bottom, self.get_y()) + 8)

    def _facts(self) -> list[tuple[str, str, tuple[int, int, int]]]:
        invoice, status = self.invoice, self.balance.status
        facts = []
        if invoice.issued_at is not None:
            day = invoice.issued_at.astimezone(self.zone)
            facts.append(("Issued", f"{day.day} {day:%B %Y}", _INK))
        if invoice.due_date is not None:
            facts.append(("Due", f"{invoice.due_date.day} {invoice.due_date:%B %Y}", _INK))
        if invoice.refers_number is not None:
            facts.append(("Corrects", invoice.refers_number, _INK))
        facts.append(("Currency", invoice.currency, _INK))
        words = status.value.replace("_", " ").capitalize()
        facts.append(("Status", words, _STATUS_INK.get(status, _INK)))
        return facts

    def _lines(self) -> None:
        self.set_font("Noto", "", 9)
        self.set_text_color(*_INK)
        self.set_draw_color(*_LIGHT)
        currency = self.invoice.currency
        head = FontFace(emphasis="BOLD", color=_GREY, size_pt=8)
        rows = [("Description", "Quantity", "Unit price", "Tax", "Amount")]
        rows += [
            (
                line.description,
                f"{line.quantity.normalize():f}",
                amount(line.unit_price, currency),
                amount(line.tax, currency) if line.taxes else _NONE,
                amount(line.total, currency),
            )
            for line in self.invoice.lines
        ]
        with self.table(
            rows,
            width=_WIDTH,
            col_widths=(78, 18, 26, 24, 28),
            text_align=(Align.L, Align.R, Align.R, Align.R, Align.R),
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            headings_style=head,
            line_height=5,
            padding=(1.8, 1, 1.8, 1),
        ):
            pass
        self.ln(5)

    def _sums(self) -> None:
        invoice, balance, currency = self.invoice, self.balance, self.invoice.currency
        rows = [("Net", invoice.subtotal, False)] if invoice.tax_totals else []
        rows += [(f"{tax.name} {percent(tax.rate)}", tax.amount, False) for tax in invoice.tax_totals]
        rows.append(("Total", invoice.total, True))
        if invoice.kind is Kind.INVOICE and invoice.status is not Stored.VOID:
            if balance.credited:
                rows.append(("Credited", -balance.credited, False))
            rows.append(("Paid", -balance.paid if balance.paid else balance.paid, False))
            rows.append(("Outstanding", balance.outstanding, True))
        if self.will_page_break(7 * len(rows) + 4):
            self.add_page()
        for label, value, bold in rows:
            if bold:
                self.set_draw_color(*_LIGHT)
                self.line(_SUMS_AT, self.get_y() + 0.5, _MARGIN + _WIDTH, self.get_y() + 0.5)
                self.ln(1)
            self.set_x(_SUMS_AT)
            self._ink(_INK if bold else _GREY, 11 if bold else 9, bold=bold)
            self.cell(38, 7, label)
            self._ink(_INK, 11 if bold else 9, bold=bold)
            width = _MARGIN + _WIDTH - _SUMS_AT - 38
            self.cell(width, 7, amount(value, currency), align=Align.R, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(6)

    def _remarks(self) -> None:
        if self.link_to is not None:
            self.set_fill_color(*_ACCENT)
            self._ink((255, 255, 255), 11, bold=True)
            text = f"Pay {amount(self.balance.outstanding, self.invoice.currency)}"
            width = self.get_string_width(text) + 16
            if self.will_page_break(18):
                self.add_page()
            self.cell(width, 10, text, align=Align.C, fill=True, link=self.link_to, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
            self._ink(_GREY, 8)
            self.ln(1)
            self.cell(_WIDTH, 5, self.link_to, link=self.link_to, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
            self.ln(5)
        for label, text_ in (
            ("Reason", self.invoice.reason),
            ("Made void", self.invoice.void_reason),
            ("Notes", self.invoice.notes),
        ):
            if text_:
                self._label(label)
                self._ink(_INK, 9)
                self._paragraph(_WIDTH, [text_])
                self.ln(3)

    def _label(self, text: str) -> None:
        self._ink(_GREY, 8, bold=True)
        self.cell(88, 6, text.upper(), new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def _paragraph(self, width: float, lines: list[str]) -> None:
        for text in lines:
            self.multi_cell(width, 4.8, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align=Align.L)

    def _rule(self) -> None:
        self.set_draw_color(*_LIGHT)
        self.line(_MARGIN, self.get_y(), _MARGIN + _WIDTH, self.get_y())


def _without_name(party: Party) -> list[str]:
    tax = f"Tax ID {party.tax_id}" if party.tax_id else None
    email = party.email if party.name else None
    return [text for text in (party.address, email, tax) if text]
