"""The providers that this installation has. Their libraries are loaded when the first of their calls comes."""

from collections.abc import Iterator, Mapping

from confiido_booking.payments.provider import Provider, ProviderName, not_configured
from confiido_booking.settings import Settings


class Providers(Mapping[str, Provider]):
    """By name, as the ledger asks for them; what is not configured is not there."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[str, Provider] = {}

    def named(self, name: ProviderName) -> Provider:
        """Raises Unavailable ``provider_not_configured``."""
        if name not in self:
            raise not_configured(name.value.title())
        return self[name]

    async def close(self) -> None:
        """Let go of all connections."""
        for provider in self._made.values():
            await provider.close()

    def __getitem__(self, name: str) -> Provider:
        if name not in self:
            raise KeyError(name)
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        settings = self._settings
        if name == ProviderName.RAZORPAY:
            return bool((settings.razorpay_key_id and settings.razorpay_key_secret) or settings.razorpay_webhook_secret)
        return name == ProviderName.STRIPE and bool(settings.stripe_secret_key or settings.stripe_webhook_secret)

    def __iter__(self) -> Iterator[str]:
        return (name for name in ProviderName if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _make(self, name: str) -> Provider:
        if name == ProviderName.RAZORPAY:
            from confiido_booking.payments.razorpay import Razorpay

            return Razorpay(self._settings)
        from confiido_booking.payments.stripe import Stripe

        return Stripe(self._settings)
