"""A session over a WebSocket: turns one after the other, each a run like any other, and nothing kept between them but
the socket."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from starlette.types import Message, Receive, Send

from agents.policies import OnMessage
from cluster.task import Event

from . import frames
from .eager import begin
from .frames import BadFrame, Cancel, Input, Move
from .live import LiveRuns
from .problems import Problem, Refused, overloaded
from .recording import Telling
from .runs import Ask
from .streaming import output_data, tell
from .told import Told, problem_of_run
from .wire import Listen, Say

MESSAGE_BYTES = 1024 * 1024
SLOW = 30.0  # seconds after which who takes no frame is looked at, and after as many more let go
LOOK = 2.0  # seconds between two looks whether keys are still good
GOODBYE = 2.0  # seconds that a close may take

POLICY, TOO_BIG, BROKEN, RESTART = 1008, 1009, 1011, 1012  # close codes of RFC 6455
NOT_LET_IN = "the key is not good any more"
AGAIN = "this replica ends; connect again"

AskOf = Callable[[Input], Ask]  # raises what is wrong with the input


class Access(NamedTuple):
    """Of the caller of a conversation: `again` counts one more turn, and raises Refused where that may not be; `good`
    says whether the caller would be let in now."""

    again: Callable[[], object]
    good: Callable[[], bool]


log = logging.getLogger(__name__)


class Desk:
    """What the conversations of one replica share."""

    def __init__(self, runs: LiveRuns, on_message: OnMessage, takes: Any) -> None:
        """`takes` is the agent's input type."""
        self.runs = runs
        self.read = frames.Reader(takes).read
        self.on_message = on_message
        self.open: set[Conversation] = set()
        self.leaving = False

    async def watch(self) -> None:
        """Close, now and then, the sockets of those who would not be let in any more."""
        while True:
            await asyncio.sleep(LOOK)
            for conversation in list(self.open):
                conversation.look()

    def leave(self) -> None:
        """The replica goes, and with it every socket that is open, or comes yet."""
        self.leaving = True
        for conversation in list(self.open):
            conversation.leave()


class _Turn(Telling):
    """One input and its answer. What its run tells goes out at once, and the run waits while its reader is slow."""

    def __init__(self, id: str, ask: Ask, say: Callable[[str], Awaitable[None]]) -> None:
        super().__init__()
        self.id = id
        self.ask = ask
        self._say = say
        self.ended = False  # it has its answer
        self.task: asyncio.Task[None] | None = None  # once it runs
        self.refusal: Problem | None = None  # why it is to end without an answer

    async def put(self, event: Event) -> None:
        if self.ended:
            return  # what a run still says that was cancelled is dropped
        self.ended = event.type in frames.LAST
        await self._say(frames.told(self.id, event))

    def cancel(self, why: str) -> None:
        """End it, unless it has an answer."""
        if not self.ended and self.refusal is None:
            self.refusal = frames.canceled(why)
            if self.task is not None:
                self.task.cancel()


class Conversation:
    """One socket of a session."""

    def __init__(self, desk: Desk, session: str, ask: AskOf, access: Access, receive: Receive, send: Send) -> None:
        self._desk = desk
        self._session = session
        self._ask = ask
        self._access = access
        self._receive = receive
        self._send = send
        self._said = self._saying = 0  # frames that were taken, and that wait to be
        self._alarm: asyncio.TimerHandle | None = None
        self._say_now: Say | None = None
        self._running: _Turn | None = None
        self._waiting: deque[_Turn] = deque()
        self._at_rest = False  # all that came was heard
        self._reply: asyncio.Task[None] | None = None  # to what was heard at once, and is no turn
        self._leaving = False
        self._over: asyncio.Future[tuple[int, str] | None] = asyncio.get_running_loop().create_future()

    async def live(self, listen: Listen | None = None) -> None:
        """Until the client has gone, or this side closes the socket. `listen`, as of wire.Sockets, saves time."""
        await self._receive()
        await self._send({"type": "websocket.accept"})
        self._desk.open.add(self)
        if self._desk.leaving:
            self.leave()
        reading = asyncio.create_task(self._guarded(partial(self._read, listen)))
        try:
            close = await self._over
        finally:
            self._desk.open.discard(self)
            self._waiting.clear()
            if self._alarm is not None:
                self._alarm.cancel()
            await _end(reading, self._reply, None if self._running is None else self._running.task)
        if close is not None:
            code, reason = close
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE):
                    await self._send({"type": "websocket.close", "code": code, "reason": reason})

    def look(self) -> None:
        """Close the socket of a caller who would not be let in any more."""
        if not self._access.good():
            self._close(POLICY, NOT_LET_IN)

    def leave(self) -> None:
        """The turn that runs is the last: the client goes on with another replica."""
        self._leaving = True
        self._waiting.clear()  # none of them has begun, and the client knows that they have no answer
        if self._running is None:
            self._close(RESTART, AGAIN)

    # what comes

    async def _read(self, listen: Listen | None) -> None:
        await self._say(frames.opened(self._session))
        if listen is not None:
            self._say_now = listen(self._hear_now)
        while await self._heard():  # in a call of its own: what an idle socket said last is not kept
            continue

    async def _heard(self) -> bool:
        """Hear the next message; False where the conversation is over."""
        self._at_rest = True
        message = await self._receive()
        self._at_rest = False
        if message["type"] != "websocket.receive":
            self._close()
            return False
        text = self._text_of(message)
        if text is not None and not self._leaving:
            reply = self._hear(text)
            if reply is not None:
                await self._say(reply)
        return text is not None

    def _hear_now(self, text: str) -> bool:
        """Hear a text when it comes; False where one before it is not done with, or it has to be looked at closer."""
        busy = not self._at_rest or self._leaving or not (self._reply is None or self._reply.done())
        if busy or self._over.done() or len(text) > MESSAGE_BYTES // 4:
            return False
        try:
            reply = self._hear(text)
        except Exception:  # noqa: BLE001 - the log has it
            self._broke()
        else:
            self._reply = None if reply is None else begin(self._guarded(partial(self._say, reply)))
        return True

    def _text_of(self, message: Message) -> str | None:
        """What the message says; None where it ends the conversation."""
        text: str | None = message.get("text")
        if text is None:
            self._close(POLICY, "frames are text")
        elif len(text) > MESSAGE_BYTES or len(text.encode("utf-8", "replace")) > MESSAGE_BYTES:
            self._close(TOO_BIG, f"a frame has at most {MESSAGE_BYTES} bytes")
            return None
        return text

    def _hear(self, text: str) -> str | None:
        """Do what the frame asks for. Returns the frame that says what is wrong with it."""
        try:
            frame = self._desk.read(text)
            if isinstance(frame, Cancel):
                for turn in self._turns:
                    if turn.id == frame.id:
                        turn.cancel("Its client asked for that.")
            else:
                self._take(frame)
        except BadFrame as bad:
            return frames.failed(bad.id, bad.problem)
        return None

    def _take(self, frame: Input) -> None:
        """Begin the turn, now or later. Raises BadFrame."""
        others = [] if self._running is None else self._turns  # none waits where none runs
        interrupts = bool(others) and self._is_to_interrupt(frame, others)
        turn = self._turn(frame)
        if interrupts:
            for other in others:
                other.cancel("Another input came.")
        self._waiting.append(turn)
        if self._running is None:
            self._begin_next()

    def _is_to_interrupt(self, frame: Input, others: list[_Turn]) -> bool:
        """Whether an input that comes while these have no answer ends them; else it waits. Raises BadFrame."""
        if any(turn.id == frame.id for turn in others):
            raise frames.twice(frame.id)
        move = frames.decide(self._desk.on_message, len(self._waiting))
        if move is Move.REJECT:
            raise BadFrame(frames.rejected(), frame.id)
        if move is Move.FULL:
            raise BadFrame(overloaded(f"{frames.WAITING} turns of this socket wait already.", 1.0), frame.id)
        return move is Move.INTERRUPT

    def _turn(self, frame: Input) -> _Turn:
        try:
            self._access.again()
            return _Turn(frame.id, self._ask(frame), self._say)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the key or the input
            if isinstance(error, Refused) and error.problem.status in (401, 403):
                self._close(POLICY, error.problem.title)
            raise BadFrame(problem_of_run(error), frame.id) from None

    @property
    def _turns(self) -> list[_Turn]:
        """Those that have no answer yet."""
        return [turn for turn in (self._running, *self._waiting) if turn is not None and not turn.ended]

    # what goes

    def _begin_next(self) -> None:
        """Begin the turn that waits longest, if one does."""
        if self._waiting:
            self._running = turn = self._waiting.popleft()
            answer = self._asked(turn) if turn.refusal is None else None
            if not turn.ended:
                turn.task = begin(self._answer(turn, answer))
                turn.task.add_done_callback(self._begin_next_soon)
                return
            if self._waiting:
                self._begin_next_soon()
                return
        self._running = None
        if self._leaving:
            self._close(RESTART, AGAIN)

    def _begin_next_soon(self, ended: asyncio.Task[None] | None = None) -> None:
        """In the loop's next turn: by then a run that was cancelled has left its slot, and what came was heard."""
        asyncio.get_running_loop().call_soon(self._begin_next)

    def _asked(self, turn: _Turn) -> Awaitable[Told] | None:
        """Begin the run of the turn. Returns what it comes to; None where that was there at once, and is sent."""
        try:
            told = self._desk.runs.begin(turn.ask, turn)
            if not isinstance(told, Told):
                return told
            turn.ended = self._said_now(frames.output(turn.id, output_data(told)))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the turn's task has to end in it
            return _known(error)
        return None if turn.ended else _known(told)

    async def _answer(self, turn: _Turn, answer: Awaitable[Told] | None) -> None:
        try:
            if answer is not None:
                turn.refusal = await self._tell(turn, answer)
            if turn.refusal is not None:
                turn.ended = True
                await self._say(frames.failed(turn.id, turn.refusal))
        except Exception:  # noqa: BLE001 - the log has it
            self._broke()

    async def _tell(self, turn: _Turn, answer: Awaitable[Told]) -> Problem | None:
        """Tell what happens in the turn. Returns why it ended without an answer."""
        try:
            ended = await tell(answer, turn)
        except asyncio.CancelledError:
            if turn.refusal is None:
                raise
            return turn.refusal
        assert not isinstance(ended, Told), "a turn becomes no task"
        return ended

    def _said_now(self, text: str) -> bool:
        """Send a frame at once, where nothing waits that is to go before it, and the client takes it."""
        if self._saying or self._say_now is None or not self._say_now(text):
            return False
        self._said += 1
        return True

    async def _say(self, text: str) -> None:
        """Send a frame. Where nobody reads it the conversation is over, and this does not return."""
        if self._said_now(text):
            return
        if self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(SLOW, self._watch_reader, self._said)
        self._saying += 1
        try:
            await self._send({"type": "websocket.send", "text": text})
        except OSError:
            self._close()  # the client has gone
            await asyncio.Event().wait()
        finally:
            self._saying -= 1
        self._said += 1

    def _watch_reader(self, said: int) -> None:
        """Close the socket of a client that takes nothing: one timer, not one for each frame."""
        self._alarm = None
        if self._saying and self._said == said:
            self._close(POLICY, f"no frame was read for {SLOW:g} s")
        elif self._saying:
            self._alarm = asyncio.get_running_loop().call_later(SLOW, self._watch_reader, self._said)

    # the end

    async def _guarded(self, part: Callable[[], Awaitable[None]]) -> None:
        """Where one part cannot go on, the socket is closed."""
        try:
            await part()
        except Exception:  # noqa: BLE001 - the log has it
            self._broke()

    def _broke(self) -> None:
        """Called where an error is handled."""
        log.exception("a conversation broke")
        self._close(BROKEN, "something went wrong on our side")

    def _close(self, code: int | None = None, reason: str = "") -> None:
        """Have the socket closed; without a code it is already."""
        if not self._over.done():
            self._over.set_result(None if code is None else (code, reason))


async def _end(*tasks: asyncio.Task[None] | None) -> None:
    there = [task for task in tasks if task is not None]
    for task in there:
        task.cancel()
    await asyncio.wait(there)


async def _known(outcome: Told | BaseException) -> Told:
    """What there is already, for who awaits it."""
    try:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome
    finally:
        del outcome  # an error knows this frame by now
