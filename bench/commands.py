"""Book, confirm, complete, no-show and cancel on a document of 50 sessions: the bare driver, the library, HTTP."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from bench import marketplace
from bench.bare import Recorder, Recording
from bench.marketplace import DURATION, Likeness
from bench.server import Served
from bench.timing import Attempt, Times, in_turn, seconds
from confiido_booking import Actor, Confiido
from confiido_booking.database.store import Document

OPERATIONS = ["book", "confirm", "complete", "no-show", "cancel"]
SESSIONS = 50


@dataclass(frozen=True, slots=True)
class Scene:
    """A client with 49 sessions, of which one has begun and one will be cancelled; an expert with one session ahead."""

    client: Actor
    expert_id: ObjectId
    owner: Actor  # the expert's user
    booking_id: ObjectId
    begun: Document
    ahead: Document
    starts_at: datetime

    def ids(self, booked: Document) -> dict[str, ObjectId | str]:
        """Every id of a scene and of the session booked in it, by what it is."""
        sessions = {"begun": self.begun, "ahead": self.ahead, "booked": booked}
        assert self.client.id is not None
        assert self.owner.id is not None
        return {
            "client": self.client.id,
            "expert": self.expert_id,
            "owner": self.owner.id,
            "booking": self.booking_id,
            **{
                f"{name} {field_}": session[field_]
                for name, session in sessions.items()
                for field_ in ("sessionId", "serviceSessionId", "claimId", "requestKey")
            },
        }


async def scenes(
    confiido: Confiido, like: Likeness, count: int, *, sessions: int = SESSIONS, before: list[Document] | None = None
) -> list[Scene]:
    """Stored scenes: each its own client and expert. ``before``: finished sessions all clients have had."""
    now = confiido.clock().replace(second=0, microsecond=0)
    made = [_scene(like, number, now) for number in range(count)]
    bookings, experts, calendars, events = [], [], [], []
    for number, scene in enumerate(made):
        assert scene.client.id is not None
        past = [like.session(scene.expert_id, now - timedelta(days=2 + day)) for day in range(sessions - 3)]
        whole = [*(before or []), *past, scene.begun, scene.ahead]
        bookings.append({**marketplace.booking(scene.client, whole, now), "_id": scene.booking_id})
        experts.append({**like.another_expert(number), "_id": scene.expert_id, "userId": scene.owner.id})
        calendars.append({"_id": scene.expert_id, "busy": [marketplace.busy(scene.ahead, scene.client.id, now)]})
        events += [marketplace.service_session(s, scene.client.id) for s in (scene.begun, scene.ahead)]
    await marketplace.insert(confiido, "bookings", bookings, batch=20)
    await marketplace.insert(confiido, "experts", experts)
    await marketplace.insert(confiido, "calendars", calendars)
    await marketplace.insert(confiido, "service_sessions", events)
    return made


def _scene(like: Likeness, number: int, now: datetime) -> Scene:
    expert_id, client = ObjectId(), marketplace.a_client()
    return Scene(
        client=client,
        expert_id=expert_id,
        owner=Actor.expert(ObjectId(), user_id=str(1000 + number % 9000)).as_expert(expert_id),
        booking_id=ObjectId(),
        begun=like.session(expert_id, now - timedelta(minutes=20), status="confirmed"),
        ahead=like.session(expert_id, now + timedelta(days=5), status="confirmed"),
        starts_at=now + timedelta(days=3),
    )


Story = dict[str, Callable[[], Awaitable[Any]]]


async def _told(story: Story) -> dict[str, float]:
    return {operation: (await seconds(step))[0] for operation, step in story.items()}


@dataclass(slots=True)
class _ByLibrary:
    confiido: Confiido
    scenes: list[Scene]
    booked: Document = field(default_factory=dict)

    def story(self, scene: Scene) -> Story:
        bookings = self.confiido.bookings

        async def book() -> None:
            change = await bookings.book(
                actor=scene.client,
                expert=scene.expert_id,
                session_type="video",
                duration=DURATION,
                starts_at=scene.starts_at,
                notes="A session on statistics.",
            )
            self.booked = change.raw_session

        def on_booked(command: Any) -> Callable[[], Awaitable[Any]]:
            return lambda: command(scene.booking_id, self.booked["sessionId"], actor=scene.owner)

        return {
            "book": book,
            "confirm": on_booked(bookings.confirm),
            "complete": on_booked(bookings.complete),
            "no-show": lambda: bookings.no_show(scene.booking_id, scene.begun["sessionId"], actor=scene.owner),
            "cancel": lambda: bookings.cancel(scene.booking_id, scene.ahead["sessionId"], actor=scene.client),
        }

    async def __call__(self, number: int) -> dict[str, float]:
        return await _told(self.story(self.scenes[number]))


@dataclass(slots=True)
class _ByDriver:
    """What the library sent once, sent for other scenes."""

    confiido: Confiido
    scenes: list[Scene]
    recordings: dict[str, Recording]
    known: dict[str, ObjectId | str]

    async def __call__(self, number: int) -> dict[str, float]:
        scene = self.scenes[number]
        fresh = {
            "sessionId": ObjectId(),
            "serviceSessionId": ObjectId(),
            "claimId": ObjectId(),
            "requestKey": str(ObjectId()),
        }
        mine = scene.ids(fresh)
        ids = {old: mine[name] for name, old in self.known.items()}
        database = self.confiido.store.database
        return await _told({op: recording.ready(database, ids) for op, recording in self.recordings.items()})


async def recorded(confiido: Confiido, scene: Scene) -> tuple[dict[str, Recording], dict[str, ObjectId | str]]:
    """Every operation done once on this scene by the library; the calls it made, and the ids in them."""
    recorder = Recorder(confiido.store.client, confiido.store.name)
    library = _ByLibrary(Confiido.over(recorder, confiido.settings, confiido.clock), [scene])
    recordings = {}
    for operation, step in library.story(scene).items():
        await step()
        recordings[operation] = recorder.cut()
    return recordings, scene.ids(library.booked)


@dataclass(slots=True)
class _ByHttp:
    served: Served
    scenes: list[Scene]

    async def __call__(self, number: int) -> dict[str, float]:
        scene = self.scenes[number]
        client, expert = self.served.caller(scene.client), self.served.caller(scene.owner)
        for caller in (client, expert):
            caller.open()
        path = f"/api/bookings/{scene.booking_id}"
        wish = {
            "expertId": str(scene.expert_id),
            "sessionType": "video",
            "duration": DURATION,
            "startsAt": scene.starts_at.isoformat(),
            "notes": "A session on statistics.",
        }
        took, answer = client.timed("POST", "/api/bookings", wish)
        booked, begun, ahead = answer["session"]["sessionId"], scene.begun["sessionId"], scene.ahead["sessionId"]
        times = {"book": took}
        for caller, command, session_id in (
            (expert, "confirm", booked),
            (expert, "complete", booked),
            (expert, "no-show", begun),
            (client, "cancel", ahead),
        ):
            times[command] = caller.timed("PUT", f"{path}/{command}", {"sessionId": str(session_id)})[0]
        return times


async def compare(
    confiido: Confiido, like: Likeness, served: Served | None, *, rounds: int, repeats: int
) -> tuple[dict[str, dict[str, Times]], dict[str, Recording]]:
    """Times by way (``bare``, ``library``, ``http``) and operation, and what each operation sends."""
    attempts = rounds * repeats + 1
    [told] = await scenes(confiido, like, 1)
    recordings, known = await recorded(confiido, told)
    ways: dict[str, Attempt] = {
        "bare": _ByDriver(confiido, await scenes(confiido, like, attempts), recordings, known),
        "library": _ByLibrary(confiido, await scenes(confiido, like, attempts)),
    }
    if served:
        ways["http"] = _ByHttp(served, await scenes(confiido, like, attempts))
    return await in_turn(ways, rounds=rounds, repeats=repeats), recordings


async def alone(confiido: Confiido, like: Likeness, *, repeats: int) -> dict[str, float]:
    """Milliseconds of each operation by the library alone, on documents of five sessions."""
    library = _ByLibrary(confiido, await scenes(confiido, like, repeats + 1, sessions=5))
    times = await in_turn({"library": library}, rounds=1, repeats=repeats)
    return {operation: each.milliseconds for operation, each in times["library"].items()}
