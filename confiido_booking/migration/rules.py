"""The rules for what real data holds: HISTORY's irregularities by number, each with a stable name.

A rule that touched a session leaves its name in ``legacy.flags``; a reason leaves the record in
``migration_quarantine``. ``docs/migration.md`` has a line for each, and ``tests/migration`` a test.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """``number``: the row of HISTORY 3, or 0 for what is of the tool. ``sentence``: what is done."""

    number: int
    sentence: str


FLAGS: dict[str, Rule] = {
    "people_filled_in": Rule(1, "Missing ids or e-mails were taken from users and experts"),
    "client_by_email": Rule(1, "The client is known by e-mail only; the id follows from it"),
    "shared_number": Rule(2, "'0000', a Firebase id or another non-4-digit number was not used"),
    "currency_assumed": Rule(3, "No currency was stored; the --currency parameter applies"),
    "currency_other": Rule(3, "Another currency than the parameter's, kept as it is and summed apart"),
    "price_suspicious": Rule(4, "Below 100 INR: an automatic profile's price, kept"),
    "price_rounded": Rule(5, "Rounded to the currency's decimals"),
    "price_missing_as_zero": Rule(5, "No price was stored; 0, as --missing-price zero says"),
    "one_digit_hour": Rule(6, "'9:30' is 09:30"),
    "across_midnight": Rule(7, "Ends on the next day"),
    "end_disagrees": Rule(8, "The stored end is not start + duration; the duration stands"),
    "duration_from_end": Rule(8, "No duration was stored; it follows from start and end"),
    "duration_assumed": Rule(8, "Neither duration nor end was stored; the profile's parameter applies"),
    "duration_short": Rule(8, "Shorter than 15 minutes, kept"),
    "date_is_local_midnight": Rule(9, "The date was midnight of the zone (18:30Z in India): the next day"),
    "date_with_time": Rule(9, "The date carried a time of day; its UTC date part stands"),
    "conflict": Rule(11, "The expert has another session then, booked earlier; both are kept"),
    "client_overlap": Rule(11, "The client has another session then, booked earlier; both are kept"),
    "booked_after_start": Rule(12, "Booked for a time that had passed, kept"),
    "session_id_reused": Rule(13, "Another client's session had this sessionId; this one has a derived one"),
    "payment_contradiction": Rule(16, "Completed and paid before it took place: confirmed"),
    "confirmed_with_cancellation": Rule(16, "Confirmed, yet with cancelledBy and cancellationTime; listed, kept"),
    "cancelled_unpaid": Rule(16, "Cancelled with a payment pending or made; kept"),
    "hold_expired": Rule(16, "Pending, unpaid, past its deadline: an expired hold, cancelled by system"),
    "stale_at_migration": Rule(16, "Pending, unpaid and over, with no deadline: cancelled by system"),
    "expert_resolved": Rule(17, "The expert was found by another key than expertId"),
    "expert_gone": Rule(17, "The expert is not among the experts; id or e-mail kept as stored"),
    "expert_assumed": Rule(17, "The record names no expert; the --expert parameter applies"),
    "expert_unclaimed": Rule(17, "To come, and its expert is known by e-mail only, or not at all: no minutes are held"),
    "no_expert": Rule(17, "The record names no expert and no parameter does"),
    "session_id_derived": Rule(18, "No sessionId was stored; it follows from the record"),
    "created_time_unreliable": Rule(
        18, "createdTime was missing or shared; the sessionId's own time stands, 2000-01-01 where it has none"
    ),
    "text_over_limit": Rule(19, "Longer than today's limit, kept whole"),
    "email_odd": Rule(19, "No e-mail by today's rule, kept"),
    "refund_assumed": Rule(16, "Refunded without an amount: all that was paid"),
    "reschedule_unreadable": Rule(14, "A reschedule entry could not be read; kept in legacy.fields"),
    "status_assumed": Rule(15, "The profile gives records without a status this one"),
    "session_type_assumed": Rule(15, "No sessionType was stored; the profile's parameter applies"),
}

REASONS: dict[str, Rule] = {
    "client_unknown": Rule(1, "Neither a client id nor an e-mail"),
    "expert_unknown": Rule(1, "Neither an expert id, an e-mail nor a number that is only one expert's"),
    "currency_unknown": Rule(3, "No ISO 4217 code and no known symbol"),
    "currency_ambiguous": Rule(3, "A symbol of several currencies; --dollar says which"),
    "price_missing": Rule(5, "No price; --missing-price zero takes 0"),
    "price_invalid": Rule(5, "No number, negative, or enormous"),
    "amount_invalid": Rule(5, "paidAmount, finalAmount or refundAmount is no amount"),
    "duration_invalid": Rule(8, "Not from 1 to 1,440 whole minutes"),
    "duration_missing": Rule(8, "No duration and no end"),
    "date_invalid": Rule(9, "No calendar day"),
    "date_missing": Rule(9, "A status that needs a time, and no date"),
    "time_invalid": Rule(6, "No time of day"),
    "time_missing": Rule(9, "A status that needs a time, and no start"),
    "time_skipped": Rule(10, "A wall time that the zone's clock skipped"),
    "duplicate": Rule(13, "The same session stands in another record, which was taken"),
    "extended_json_broken": Rule(14, "{$oid}, {$date} … with a value that is none"),
    "flag_unknown": Rule(14, "Neither true nor false"),
    "json_broken": Rule(14, "A JSON column that is no JSON"),
    "not_understood": Rule(14, "Values of kinds that no rule expects; the detail names them"),
    "unreadable": Rule(14, "A line of the file that cannot be read, or is not UTF-8"),
    "status_unknown": Rule(15, "A status that no table names; never taken for pending"),
    "status_missing": Rule(15, "No status"),
    "payment_status_unknown": Rule(15, "A payment status that no table names"),
    "session_type_unknown": Rule(15, "Neither video, audio, chat nor in-person"),
    "session_not_a_document": Rule(18, "An entry of sessions[] that is no document"),
    "too_large": Rule(20, "One session alone would fill a third of a document"),
}
