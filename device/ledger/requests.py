"""What other threads ask the ledger's thread to store, and the futures that it answers with."""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from device.events import AnyEvent, CommandAccepted, Event
from device.ledger.accepted_commands import CommandAnswer
from device.ledger.database import Intent, NumberedEvent, Writes


@dataclass(frozen=True, slots=True)
class IntentRequest:
    """An item is about to go to a bin."""

    intent: Intent
    done: "Future[None]"


@dataclass(frozen=True, slots=True)
class EventRequest:
    """Something happened."""

    event: Event
    done: "Future[AnyEvent]"


@dataclass(frozen=True, slots=True)
class AcceptRequest:
    """A command is about to be carried out, unless its id was accepted before."""

    event: CommandAccepted
    done: "Future[CommandAnswer | None]"


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A command was carried out, or could not be."""

    answer: CommandAnswer
    done: "Future[None]"


Request = IntentRequest | EventRequest | AcceptRequest | AnswerRequest


@dataclass(frozen=True, slots=True)
class RequestBatch:
    """The requests of one transaction: events with their numbers, and commands that are answered with what is known of them."""

    intents: Sequence[IntentRequest]
    answers: Sequence[AnswerRequest]
    events: Sequence[tuple[EventRequest | AcceptRequest, NumberedEvent]]
    repeated: Sequence[tuple[AcceptRequest, CommandAnswer]]

    def writes(self, delivered: Collection[int]) -> Writes:
        """What to store in the transaction."""
        events = [numbered for _, numbered in self.events]
        return Writes(events, [request.intent for request in self.intents], [request.answer for request in self.answers], delivered)

    def tell_stored(self) -> Iterator[bytes]:
        """Answer the requests, now that the transaction is on disk. Gives the JSON of each event once its request is answered."""
        for intent_request in self.intents:
            intent_request.done.set_result(None)
        for answer_request in self.answers:
            answer_request.done.set_result(None)
        for accept_request, answer in self.repeated:
            accept_request.done.set_result(answer)
        for event_request, numbered in self.events:
            if isinstance(event_request, EventRequest):
                event_request.done.set_result(numbered.event)
            else:
                event_request.done.set_result(None)
            yield numbered.payload
