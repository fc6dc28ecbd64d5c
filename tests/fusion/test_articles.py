import pytest

from mmpipe.fusion.articles import with_article


@pytest.mark.parametrize(
    ("name", "said"),
    [("apple", "an apple"), ("dog", "a dog"), ("unicycle", "a unicycle"), ("food", "food"), ("broccoli", "broccoli")],
)
def test_articles(name: str, said: str) -> None:
    assert with_article(name) == said
