"""How badly the stand-in answers: settings that tests change while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulator.thingsboard.packets import Publish


@dataclass
class Misbehaviour:
    """Everything that can be switched; the defaults are a healthy server.

    :arg refuse_connect: answer CONNECT with this reason code of MQTT 5 and close; 3.1.1 clients get the return code
        ThingsBoard gives for it.
    :arg silent_connect: accept the socket and never answer CONNECT.
    :arg withhold_acks: how many of the next acknowledgements are not sent though the message is stored; -1 for all
        until it is set to 0.
    :arg ack_reason: acknowledge without storing, with this reason code; 3.1.1 clients cannot see the difference.
    :arg ack_matching: the messages `ack_reason` applies to; all where None.
    :arg ack_closes: close the connection behind such an acknowledgement, as ThingsBoard does on an exhausted quota.
    :arg ack_times: how many messages `ack_reason` applies to; -1 for all. It is counted down.
    :arg ack_delay: seconds between a message and its acknowledgement.
    :arg drop_after: close the connection without a word instead of acknowledging the n-th PUBLISH from now (1 is the
        next one); the message is stored. 0 for never. It is counted down over all connections.
    :arg stop_reading: leave everything that arrives in the sockets, new connections included, and answer nothing: a
        half-open connection.
    """

    refuse_connect: int | None = None
    silent_connect: bool = False
    withhold_acks: int = 0
    ack_reason: int | None = None
    ack_matching: Callable[[Publish], bool] | None = None
    ack_closes: bool = False
    ack_times: int = -1
    ack_delay: float = 0.0
    drop_after: int = 0
    stop_reading: bool = False

    def take_withheld_ack(self) -> bool:
        """Whether the acknowledgement about to be sent is withheld; counts it."""
        if self.withhold_acks > 0:
            self.withhold_acks -= 1
            return True
        return self.withhold_acks < 0

    def take_ack_reason(self, message: Publish) -> int | None:
        """The reason code to answer this message with instead of storing it, or None; counts it."""
        if self.ack_reason is None or self.ack_times == 0 or (self.ack_matching is not None and not self.ack_matching(message)):
            return None
        self.ack_times -= self.ack_times > 0
        return self.ack_reason

    def take_drop(self) -> bool:
        """Whether the connection is dropped instead of acknowledging; counts down to it."""
        if self.drop_after == 0:
            return False
        self.drop_after -= 1
        return self.drop_after == 0
