import secrets
from collections.abc import Iterator

import pytest

from tests.end_to_end.stack import Stack


def make_stack(tmp_path_factory: pytest.TempPathFactory, network: str) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"), network)
    stack.copy_inventory()
    try:
        stack.start()
        stack.pulumi("stack", "init", "local")
        yield stack
    finally:
        stack.lab.down()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A lab that is up, and a stack with nothing deployed; one for a module's tests, which run in order."""
    yield from make_stack(tmp_path_factory, f"127.{100 + secrets.randbelow(100)}")


@pytest.fixture(scope="module")
def deployed(stack: Stack) -> Stack:
    """The same stack, deployed."""
    stack.up()
    return stack
