"""`faktory.typed.branches`: who includes whom."""

from __future__ import annotations

import gc

import pytest

from faktory import ConfigurationError
from faktory.typed.branches import Branch


def include(one: Branch, other: Branch) -> None:
    one._check_apart(other)
    one._take(other)


def test_ways_lead_down_from_each_root_the_latest_last() -> None:
    root, later, middle, leaf = (Branch() for _ in range(4))
    assert leaf._every_path() == ((leaf,),)
    include(middle, leaf)
    include(root, middle)
    assert leaf._every_path() == ((root, middle, leaf),)
    include(later, middle)
    assert leaf._every_path() == ((root, middle, leaf), (later, middle, leaf))
    assert leaf._roots() == [root, later]
    assert leaf._ancestors() == {root, later, middle, leaf}
    assert list(root._tree()) == [root, middle, leaf]


def test_a_root_that_is_gone_is_on_no_way() -> None:
    first, second, leaf = Branch(), Branch(), Branch()
    include(first, leaf)
    include(second, leaf)
    assert leaf._roots() == [first, second]
    leaf._forget_paths()
    del first
    gc.collect()
    assert leaf._roots() == [second]


def test_none_is_included_twice_or_in_itself() -> None:
    root, middle, leaf = (Branch() for _ in range(3))
    include(root, middle)
    include(middle, leaf)
    for one, other in [(root, leaf), (leaf, root), (root, root), (leaf, middle)]:
        with pytest.raises(ConfigurationError, match="an app can be included once in another, and not in itself"):
            one._check_apart(other)
