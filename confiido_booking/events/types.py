"""The types of events: one table from what a command does to what is told of it (docs/events.md lists them)."""

SESSION_TYPES: dict[str, str] = {  # by a command's action
    "request": "session.requested",
    "quote": "session.quoted",
    "accept": "session.accepted",
    "decline": "session.declined",
    "book": "session.booked",
    "purchase": "session.purchased",
    "schedule": "session.scheduled",
    "extend": "session.extended",
    "confirm": "session.confirmed",
    "revive": "session.confirmed",
    "expire": "session.expired",
    "complete": "session.completed",
    "no-show": "session.no_show",
    "undo": "session.undone",
    "cancel": "session.cancelled",
    "reschedule": "session.rescheduled",
    "request-reschedule": "session.reschedule_requested",
    "respond-reschedule": "session.reschedule_answered",
    "patch": "session.updated",
    "pay": "payment.received",
    "unplaced": "payment.unplaced",
    "refund-reserved": "payment.refund_pending",
    "refund": "payment.refunded",
    "refund-released": "payment.refund_failed",
    "chargeback": "payment.charged_back",
    "set-refund": "session.refund_set",
    "payment-failed": "session.updated",  # its paymentStatus; payment.failed is the attempt's
    "pay-refused": "session.updated",  # nothing but that the refused entry can no longer come
    "refund-refused": "session.updated",
    "invoice": "session.invoiced",
    "uninvoice": "session.uninvoiced",
}
OTHER_TYPES = frozenset(
    {
        "payment.failed",
        "payment.disputed",
        "invoice.issued",
        "invoice.paid",
        "invoice.voided",
        "credit_note.issued",
        "service_session.scheduled",
        "service_session.moved",
        "service_session.cancelled",
        "service_session.started",
        "service_session.completed",
        "order.placed",
        "order.paid",
        "order.cancelled",
        "order.expired",
        "order.refunded",
        "order.expiring",
        "order.extended",
        "order.ended",
        "client.merged",
        "review.written",
    }
)
CONFIRMED = "session.confirmed"
MAY_CONFIRM = frozenset({"book", "accept", "schedule", "purchase", "pay"})  # where they do, that is told beside them
TYPES = frozenset(SESSION_TYPES.values()) | OTHER_TYPES


def of_action(action: str) -> str:
    """The type of the event of a command on a session."""
    return SESSION_TYPES.get(action) or f"session.{action.replace('-', '_')}"
