"""One connection's life against a scripted server: time and packet ids are under the test's control."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from connectors.thingsboard.connection import Accepted, Acknowledged, Ended, Event, Received
from connectors.thingsboard.conversation import CONNACK_TIMEOUT, Conversation, Known, Stopping
from connectors.thingsboard.dispatch import Dispatch
from connectors.thingsboard.ending import ACK_TIMEOUT, CONNECTION_LOST, LIMIT_REACHED, NO_CONNACK, NOT_A_GATEWAY, SHUTTING_DOWN
from connectors.thingsboard.farewell import Farewell
from connectors.thingsboard.limits import REQUEST_TOPIC, RESPONSE_TOPIC, Pacer
from connectors.thingsboard.outbox import Outbox
from connectors.thingsboard.payload import GATEWAY_ITSELF, Kind, Record, encode_record
from connectors.thingsboard.rhythm import LISTEN
from connectors.thingsboard.trouble import Trouble
from connectors.thingsboard.wake import Wake
from model.session_record import SessionRecord
from model.settings.thingsboard import ThingsBoardSettings

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
Answer = Callable[[int, str, bytes], list[Event]]


def acknowledge(message: int, _topic: str, _payload: bytes) -> list[Event]:
    return [Acknowledged(message, 0)]


class Scripted:
    """Stands for the network: answers each message as told, and lets a second pass when nothing happens."""

    def __init__(self, answer: Answer, ids: int = 65_535, accept: bool = True) -> None:
        self.now = 0.0
        self.sent: list[tuple[str, bytes]] = []
        self.goodbyes = 0
        self._answer = answer
        self._ids = ids
        self._events: deque[Event] = deque([Accepted()] if accept else [])

    def reopen(self) -> None:
        """The next connection is accepted."""
        self._events = deque([Accepted()])

    def publish(self, topic: str, payload: bytes) -> int:
        self.sent.append((topic, payload))
        message = (len(self.sent) - 1) % self._ids + 1
        self._events.extend(self._answer(message, topic, payload))
        return message

    def subscribe(self, _topic_filter: str) -> None:
        pass

    def poll(self, timeout: float, _wake: int) -> list[Event]:
        if not self._events:
            self.now += max(timeout, 0.001)
        events, self._events = list(self._events), deque()
        return events

    def disconnect(self) -> None:
        self.goodbyes += 1

    def close(self) -> None:
        pass


class Talk:
    def __init__(self, folder: Path, **settings: Any) -> None:
        self.outbox = Outbox(folder / "outbox.sqlite")
        self.wake = Wake()
        self.stopping = Stopping()
        self.settings = ThingsBoardSettings(url="mqtt://localhost", token="t", **settings)
        self.known = Known()
        self.record = SessionRecord()
        self.pacer = Pacer(lambda: 0.0)
        self.dispatch = Dispatch(self.outbox, self.settings.api, self.pacer)

    def run(self, network: Any, stop_after: float = 1_000.0, listen: float = 0.0) -> Farewell:
        trouble = Trouble(self.outbox.tell, 60.0, lambda: NOW, lambda: network.now)
        self.stopping.deadline = stop_after
        return Conversation(
            network,
            self.settings,
            self.outbox,
            self.dispatch,
            self.pacer,
            self.known,
            self.stopping,
            self.wake,
            trouble,
            self.record,
            lambda: network.now,
            lambda: NOW,
            listen,
        ).run()

    def close(self) -> None:
        self.outbox.close()
        self.wake.close()


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    with closing(Talk(tmp_path)) as new:
        yield new


def records(count: int, device: str = "M1") -> list[Record]:
    return [Record(device, "m1", Kind.TELEMETRY, ts, encode_record(ts, {"x": ts}), "poll", 1, ts, 1) for ts in range(count)]


def test_it_delivers_says_goodbye_and_ends_when_it_is_told_to(talk: Talk) -> None:
    talk.outbox.append(records(5))
    network = Scripted(acknowledge)
    farewell = talk.run(network)
    assert farewell.ending is None
    assert network.goodbyes == 1
    assert talk.outbox.depth == 0
    assert [topic for topic, _ in network.sent] == [REQUEST_TOPIC, "v1/gateway/connect", "v1/gateway/telemetry"]


def test_packet_ids_that_come_round_again_are_not_mistaken(tmp_path: Path) -> None:
    with closing(Talk(tmp_path, inflight=1)) as talk:
        for record in records(30):
            talk.outbox.append([record])
        talk.dispatch.packet_limit = 100
        talk.settings = talk.settings.model_copy(update={"outbox": talk.settings.outbox.model_copy(update={"batch_bytes": 100})})
        network = Scripted(acknowledge, ids=4)
        assert talk.run(network).ending is None
        assert talk.outbox.depth == 0
        assert len(network.sent) > 10
        assert network.now < 10.0


def test_nothing_is_sent_before_the_limits_are_known_or_given_up(talk: Talk) -> None:
    talk.outbox.append(records(5))
    answers = {REQUEST_TOPIC: Received(RESPONSE_TOPIC, b'{"maxPayloadSize":150,"maxInflightMessages":1}')}

    def limited(message: int, topic: str, payload: bytes) -> list[Event]:
        return [*([answers[topic]] if topic in answers else []), Acknowledged(message, 0)]

    network = Scripted(limited)
    assert talk.run(network).ending is None
    telemetry = [payload for topic, payload in network.sent if topic == "v1/gateway/telemetry"]
    assert len(telemetry) > 1
    assert all(len(payload) <= 150 for payload in telemetry)
    assert network.now < 1.0


def test_a_server_that_never_answers_connect(talk: Talk) -> None:
    network = Scripted(acknowledge, accept=False)
    farewell = talk.run(network, stop_after=math.inf)
    assert (farewell.ending, farewell.lifetime) == (NO_CONNACK, 0.0)
    assert network.now == pytest.approx(CONNACK_TIMEOUT, abs=2.0)


def test_a_stop_does_not_wait_for_a_server_that_has_not_answered_connect(talk: Talk) -> None:
    talk.outbox.append(records(1))
    network = Scripted(acknowledge, accept=False)
    assert talk.run(network).ending is None
    assert network.now < 2.0
    assert talk.outbox.depth == 1


def test_gateway_topics_that_are_never_acknowledged_although_others_are(talk: Talk) -> None:
    own = records(1, GATEWAY_ITSELF)
    talk.outbox.append([*records(3), *own])

    def only_devices(message: int, topic: str, payload: bytes) -> list[Event]:
        return [] if topic.startswith("v1/gateway") else [Acknowledged(message, 0)]

    assert talk.run(Scripted(only_devices)).ending is NOT_A_GATEWAY
    assert talk.outbox.depth == 3


def test_a_server_that_acknowledges_nothing_at_all_is_not_called_no_gateway(talk: Talk) -> None:
    talk.outbox.append(records(3))
    assert talk.run(Scripted(lambda *_: [])).ending is ACK_TIMEOUT


def test_a_stated_reason_is_passed_on(talk: Talk) -> None:
    talk.outbox.append(records(3))
    farewell = talk.run(Scripted(lambda *_: [Ended(SHUTTING_DOWN, True)]))
    assert (farewell.ending, farewell.stated) == (SHUTTING_DOWN, True)


def test_a_connection_that_closes_behind_a_refusal_was_closed_for_it(talk: Talk) -> None:
    talk.outbox.append(records(3))

    def refuse(message: int, topic: str, payload: bytes) -> list[Event]:
        if topic == "v1/gateway/telemetry":
            return [Acknowledged(message, 0x97), Ended(CONNECTION_LOST, False)]
        return [Acknowledged(message, 0)]

    assert talk.run(Scripted(refuse)).ending is LIMIT_REACHED
    assert talk.outbox.depth == 3


def test_3_1_1_does_not_believe_an_acknowledgement_right_before_the_end(tmp_path: Path) -> None:
    with closing(Talk(tmp_path, protocol="3.1.1")) as talk:
        talk.outbox.append(records(3))

        def acknowledge_and_close(message: int, topic: str, payload: bytes) -> list[Event]:
            closing_now: list[Event] = [Ended(CONNECTION_LOST, False)] if topic == "v1/gateway/telemetry" else []
            return [Acknowledged(message, 0), *closing_now]

        assert talk.run(Scripted(acknowledge_and_close)).ending is CONNECTION_LOST
        assert talk.outbox.depth == 3
        assert talk.run(Scripted(acknowledge)).ending is None
        assert talk.outbox.depth == 0


def test_a_stop_does_not_wait_longer_than_it_was_told(talk: Talk) -> None:
    talk.outbox.append(records(3))
    network = Scripted(lambda message, topic, _payload: [Acknowledged(message, 0)] if topic == REQUEST_TOPIC else [])
    assert talk.run(network, stop_after=1.5).ending is None
    assert network.now == pytest.approx(1.5, abs=0.1)
    assert network.goodbyes == 1
    assert talk.outbox.depth == 3


def test_3_1_1_a_record_is_no_culprit_when_the_connection_was_closed_soon_after_it_began(tmp_path: Path) -> None:
    """Two clients that fight close each other's connections in the middle of anything."""
    with closing(Talk(tmp_path, protocol="3.1.1")) as talk:
        talk.outbox.append(records(1))
        closes = [Ended(CONNECTION_LOST, False)]
        network = Scripted(lambda message, topic, _: closes if topic == "v1/gateway/telemetry" else [Acknowledged(message, 0)])
        for _ in range(20):
            network.reopen()
            assert talk.run(network, stop_after=math.inf).ending is CONNECTION_LOST
        assert talk.outbox.depth == 1


def test_3_1_1_a_record_is_the_culprit_when_it_was_alone_after_a_time_of_peace_again_and_again(tmp_path: Path) -> None:
    with closing(Talk(tmp_path, protocol="3.1.1")) as talk:
        talk.outbox.append([*records(1), *records(1, "M2")])

        def close_on_the_first(message: int, topic: str, payload: bytes) -> list[Event]:
            return [Ended(CONNECTION_LOST, False)] if b'"M1":[' in payload else [Acknowledged(message, 0)]

        network = Scripted(close_on_the_first)
        for _ in range(20):
            network.reopen()
            talk.run(network, stop_after=network.now + 60.0, listen=LISTEN)
        assert talk.outbox.depth == 0


def test_a_listening_connection_sends_no_record_for_a_while(talk: Talk) -> None:
    talk.outbox.append(records(1))
    sent: list[float] = []

    def note(message: int, topic: str, payload: bytes) -> list[Event]:
        if topic.startswith("v1/gateway"):
            sent.append(network.now)
        return [Acknowledged(message, 0)]

    network = Scripted(note)
    farewell = talk.run(network, stop_after=60.0, listen=5.0)
    assert sent[0] >= 5.0
    assert farewell.closure is not None
    assert farewell.closure.listened
