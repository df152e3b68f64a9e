"""Who listens in this process, and how an event gets to them.

One task hears events and brings each, in their order, to all who listen to a stream that it belongs to. Many events that come
together are looked up together: a few statements for all of them, whoever listens and however many. An event is made into
bytes once, and each listener is given the same ones, in a queue of its own. Nobody waits for a listener: one whose queue is
full is closed.

What is remembered: who listens to what, QUEUE events for each, the last events, and of each home stream the last posts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Container, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import orjson
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import close_old_connections

from feeds import deliveries, entities, listeners, logs, metrics, notifications, streaming
from feeds.database import STORE_ERRORS
from feeds.listeners import Heard
from feeds.streaming import DELETE, EDIT, NOTIFICATION, UPDATE, Event
from followers.models import Account

from .. import auth, serializers
from ..notifications import shaped
from .listener import Listener, Message
from .streams import PUBLIC, Refused, Stream, Subscription

HEARTBEAT = 15  # seconds from one sign of life to the next, and between two looks whether a token is still good
POLL = 0.5  # seconds between two looks at a fan-out that is watched
THREADS = 4  # that talk to PostgreSQL, each by a connection of its own
KNOWN = 10_000  # events that are known again if they come twice
PAUSES = (0.5, 1, 2, 4)  # seconds between tries to look up events while a store is away; then they are lost

log = logging.getLogger(__name__)


class Hub:
    def __init__(self) -> None:
        self.streams: dict[str, dict[int | str, set[Listener]]] = {}
        self.slots: list[set[Listener]] = [set() for _ in range(HEARTBEAT)]
        self.connections = Counter[tuple[str, int | str]]()  # by account and by address
        self.arrivals = count()
        self.known: dict[tuple[Any, ...], None] = {}
        self.watched: dict[int, Message | None] = {}  # fan-outs, and what was last told of each
        self.hearing = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()
        self.threads = ThreadPoolExecutor(THREADS, "streaming")

    async def open(self) -> None:
        """Begins to hear, and waits for it a little: a process that takes connections should bring them events."""
        self.spawn(self._for_ever(self._hear))
        self.spawn(self._for_ever(self._beat))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.hearing.wait(), 2)

    def close(self) -> None:
        """Lets everybody go, with what waits for them."""
        for slot in self.slots:
            for listener in list(slot):
                listener.end()
        for task in self.tasks:
            task.cancel()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _for_ever(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Whatever goes wrong that nobody thought of."""
        while True:
            try:
                await work()
            except Exception:
                log.exception("streaming goes on after an error")
                await asyncio.sleep(1)

    async def in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        """What asks PostgreSQL: never in the loop."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, _connected, work, args)

    # Who listens

    def join(self, listener: Listener) -> None:
        """Raises Refused where its account, or its address, has as many connections to this process as it may have."""
        if settings.RATE_LIMITS:
            self._check_room("account", listener.account_id, settings.STREAMS_PER_ACCOUNT)
            self._check_room("address", listener.address, settings.STREAMS_PER_ADDRESS)
        self.connections.update(_owners(listener))
        self.slots[next(self.arrivals) % HEARTBEAT].add(listener)
        metrics.streaming_listeners.inc()

    def _check_room(self, kind: str, who: int | str, most: int) -> None:
        if self.connections[kind, who] >= most:
            metrics.rate_limited.labels("streams").inc()
            logs.say(log, "limited", limit="streams", **{kind: who})
            raise Refused(429, f"Too many connections for this {kind}: close one of them first")

    def leave(self, listener: Listener) -> None:
        listener.end()
        for stream in list(listener.labels):
            self.unsubscribe(listener, stream)
        for slot in self.slots:
            if listener in slot:
                slot.remove(listener)
                for owner in _owners(listener):
                    self.connections[owner] -= 1
                    if not self.connections[owner]:
                        del self.connections[owner]
                metrics.streaming_listeners.dec()

    def subscribe(self, listener: Listener, asked: Subscription) -> None:
        """A second time it changes nothing."""
        stream, label = asked
        listener.labels.setdefault(stream, label)
        self.streams.setdefault(stream.kind, {}).setdefault(stream.of, set()).add(listener)
        if stream.kind == "delivery":
            self._watch(listener, stream)

    def unsubscribe(self, listener: Listener, stream: Stream) -> None:
        if listener.labels.pop(stream, None) is not None:
            by_owner = self.streams[stream.kind]
            by_owner[stream.of].discard(listener)
            if not by_owner[stream.of]:
                del by_owner[stream.of]

    def _on(self, stream: Stream) -> Iterable[Listener]:
        return self.streams.get(stream.kind, {}).get(stream.of, ())

    def _tell(self, stream: Stream, message: Message, among: Container[int] | None = None) -> None:
        for listener in tuple(self._on(stream)):
            if among is None or listener.account_id in among:
                listener.tell(message, stream)

    async def _beat(self) -> None:
        """A sign of life for each, and a look whether its token is still good: once in HEARTBEAT, some each second."""
        for second in count():
            await asyncio.sleep(1)
            slot = list(self.slots[second % HEARTBEAT])
            if not slot:
                continue
            good = {listener.checksum for listener in slot}
            with contextlib.suppress(*STORE_ERRORS):  # as long as nobody can tell, they are good
                good = await self.in_thread(auth.still_good, good)
            for listener in slot:
                if listener.checksum not in good:
                    listener.end()
                elif listener.thump:
                    listener.put(listener.thump)

    # Events

    async def _hear(self) -> None:
        async for told in streaming.events(self.hearing):
            for event in told:
                metrics.streaming_events.labels(event.kind).inc()
            if any(self.slots):
                await self._bring_surely(told)

    async def _bring_surely(self, told: list[Event]) -> None:
        """Whatever is wrong with these, the next ones are heard."""
        for pause in (*PAUSES, 0):
            try:
                await self._bring(told)
            except STORE_ERRORS as error:
                gone: Exception = error
                await asyncio.sleep(pause)
            except Exception:
                log.exception("%d events were lost", len(told))
                metrics.streaming_lost.inc(len(told))
                return
            else:
                return
        log.warning("%d events were lost: %s", len(told), gone)
        metrics.streaming_lost.inc(len(told))

    async def _bring(self, told: list[Event]) -> None:
        """Looks up all of them, then tells: what can fail comes first, and may be done again."""
        homes, lists = list(self.streams.get("user", ())), list(self.streams.get("list", ()))
        notified = {*homes, *self.streams.get("user:notification", ())}
        mine = [event for event in told if event.kind == NOTIFICATION and event.account_id in notified]
        tales = await self.in_thread(_tales, mine) if mine else {}
        public = self._public_accounts()
        heard, statuses = (
            await self.in_thread(_look, told, homes, lists, public) if homes or lists or public else ({}, {})
        )
        for event in told:
            if event.kind == NOTIFICATION and event.subject_id in tales and self._is_new(event):
                self._notify(event.account_id, Message(NOTIFICATION, tales[event.subject_id]))
            elif (one := heard.get(event)) and self._is_new((*event, one.edited_at) if event.kind == EDIT else event):
                payload = b"%d" % one.post_id if event.kind == DELETE else statuses[one.post_id]
                message, rule = Message(event.kind, payload), event.kind == UPDATE
                self._spread(one, message, public - one.hidden_from, home_rule=rule)
            await asyncio.sleep(0)  # who can send does so now: many events at once fill nobody's queue

    def _public_accounts(self) -> set[int]:
        kinds = (*PUBLIC, "hashtag", "hashtag:local")
        heard_by = [ears for kind in kinds for ears in self.streams.get(kind, {}).values()]
        return {listener.account_id for ears in heard_by for listener in ears}

    def _is_new(self, key: tuple[Any, ...]) -> bool:
        """Tasks run at least once, and so do they tell."""
        if key in self.known:
            return False
        self.known[key] = None
        if len(self.known) > KNOWN:
            del self.known[next(iter(self.known))]
        return True

    def _spread(self, one: Heard, message: Message, public: set[int], *, home_rule: bool) -> None:
        """To the public streams of these accounts alone: of whoever came meanwhile nobody asked what is hidden from them."""
        shows = one.original_id or one.post_id
        for account_id in one.home:
            stream = Stream("user", account_id)
            for listener in tuple(self._on(stream)):
                # Rule (d): of a post, and its reblogs close by, the first is told.
                if not (home_rule and one.original_id and shows in listener.told):
                    listener.tell(message, stream)
                if home_rule:
                    listener.told.append(shows)
        for list_id in one.lists:
            self._tell(Stream("list", list_id), message)
        for kind in PUBLIC if one.public else ():
            self._tell(Stream(kind), message, public)
        for tag in one.tags:
            self._tell(Stream("hashtag", tag), message, public)
            self._tell(Stream("hashtag:local", tag), message, public)

    def _notify(self, account_id: int, message: Message) -> None:
        self._tell(Stream("user:notification", account_id), message)
        stream = Stream("user", account_id)
        for listener in tuple(self._on(stream)):
            if listener.notified:
                listener.tell(message, stream)

    # Fan-outs that are watched

    def _watch(self, listener: Listener, stream: Stream) -> None:
        """One look at the rows for all who watch the same post."""
        post_id = int(stream.of)
        if post_id not in self.watched:
            self.watched[post_id] = None
            self.spawn(self._follow_up(post_id, stream))
        elif last := self.watched[post_id]:
            listener.tell(last, stream)

    async def _follow_up(self, post_id: int, stream: Stream) -> None:
        last: dict[str, Any] = {}
        try:
            while self._on(stream):
                report = last
                with contextlib.suppress(*STORE_ERRORS):
                    report = await self.in_thread(deliveries.report, post_id)
                if _progress(report) != _progress(last):
                    last = report
                    message = Message("delivery", orjson.dumps(serializers.delivery(report)))
                    self.watched[post_id] = message
                    self._tell(stream, message)
                if last.get("finished_at"):
                    break
                await asyncio.sleep(POLL)
        except ObjectDoesNotExist:
            pass
        finally:
            del self.watched[post_id]
            for listener in tuple(self._on(stream)):
                listener.end()


def _owners(listener: Listener) -> list[tuple[str, int | str]]:
    return [("account", listener.account_id), ("address", listener.address)]


def _progress(report: dict[str, Any]) -> dict[str, Any]:
    """Without what changes with every look."""
    return {name: value for name, value in report.items() if name not in ("seconds", "deliveries_per_second")}


def _connected(work: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    close_old_connections()  # one that died since is made anew
    return work(*args)


def _look(
    told: list[Event], homes: list[int], lists: list[int], public: set[int]
) -> tuple[dict[Event, Heard], dict[int, bytes]]:
    """What is heard of the events' posts, and the JSON of those that somebody here is shown: the same for all of them."""
    new = [event for event in told if event.kind in (UPDATE, EDIT)]
    gone = [event for event in told if event.kind == DELETE]
    shown = listeners.shown({one.subject_id for one in new}, homes=homes, lists=lists, public=public)
    once = listeners.taken_back({one.subject_id for one in gone}, homes=homes, lists=lists)
    found = {one: shown.get(one.subject_id) for one in new} | {one: once.get(one.subject_id) for one in gone}
    heard = {event: one for event, one in found.items() if one and one.by_somebody}
    ids = sorted({event.subject_id for event in heard if event.kind != DELETE})
    refs = entities.refs(ids, None) if ids else []
    return heard, dict(zip([ref.post_id for ref in refs], serializers.statuses(refs, None), strict=True))


def _tales(told: list[Event]) -> dict[int, bytes]:
    """The JSON of notifications, each as its account reads it, by id."""
    by_account: dict[int, list[int]] = {}
    for event in told:
        by_account.setdefault(event.account_id, []).append(event.subject_id)
    found: dict[int, bytes] = {}
    for account in Account.objects.filter(pk__in=by_account, is_active=True):
        for one in shaped(account, notifications.several(account, by_account[account.pk])):
            found[int(one["id"])] = orjson.dumps(one)
    return found
