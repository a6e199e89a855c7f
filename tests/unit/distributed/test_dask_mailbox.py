"""The mailbox of a Dask task delivers each message once."""

import asyncio
import pickle

from loadgen.distributed.dask_mailbox import Mailbox, Poll


def test_a_repeated_poll_delivers_once():
    """A poll that is repeated, as after a broken connection, delivers its messages once and loses no reply."""

    async def main():
        mailbox = Mailbox()
        mailbox.send("reply 1")
        poll = Poll("a", 0, (pickle.dumps("message 1"),), 0)
        first, again = mailbox.poll(poll), mailbox.poll(poll)
        mailbox.send("reply 2")
        later = mailbox.poll(Poll("a", 1, (pickle.dumps("message 2"),), 1))
        inbox = mailbox.messages()
        return [await anext(inbox), await anext(inbox)], first, again, later

    messages, first, again, later = asyncio.run(main())
    assert messages == ["message 1", "message 2"]
    assert [pickle.loads(content) for content in first] == ["reply 1"]
    assert again == first
    assert [pickle.loads(content) for content in later] == ["reply 2"]


def test_shut_down_ends_the_messages_of_a_worker():
    """`shut_down` delivers Shutdown, on which a worker exits."""

    async def main():
        mailbox = Mailbox()
        mailbox.shut_down()
        return type(await anext(mailbox.messages())).__name__

    assert asyncio.run(main()) == "Shutdown"
