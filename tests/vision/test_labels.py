from __future__ import annotations

from mmpipe.vision.labels import imagenet_labels, kinds


def label(name: str):
    return next(label for label in imagenet_labels() if label.name == name)


def test_there_is_a_name_for_each_of_the_thousand_logits_in_their_order():
    labels = imagenet_labels()
    assert len(labels) == 1000
    # Classes that every list of ILSVRC 2012 has at these places.
    assert [labels[i].name for i in (0, 207, 388, 504, 999)] == [
        "tench", "golden retriever", "giant panda", "coffee mug", "toilet paper",
    ]  # fmt: skip
    assert [labels[i].synset for i in (0, 999)] == ["n01440764", "n15075141"]
    assert len({label.synset for label in labels}) == 1000


def test_names_read_well_in_a_sentence():
    assert not [label.name for label in imagenet_labels() if set(label.name) & set("(/,;|")]


def test_kinds_go_from_the_finest_to_the_widest():
    assert label("golden retriever").kinds == ("dog", "mammal", "animal")
    assert label("monarch butterfly").kinds == ("butterfly", "insect", "animal")
    assert label("school bus").kinds == ("bus", "vehicle")
    assert label("banana").kinds == ("fruit", "food")
    assert label("acoustic guitar").kinds[0] == "guitar"


def test_kinds_are_what_people_mean_where_wordnet_is_not():
    food, vehicles, containers = (
        {imagenet_labels()[i].name for i in kinds()[kind]} for kind in ("food", "vehicle", "container")
    )
    assert not food & {"plate", "menu", "hay", "tea cup"}
    assert not vehicles & {"shopping cart", "wheelbarrow", "mobile home"}
    assert not containers & vehicles
    assert "corn" in food


def test_a_class_is_in_the_kinds_that_list_it():
    for kind, classes in kinds().items():
        assert all(kind in imagenet_labels()[i].kinds for i in classes)
    assert [label.name for label in imagenet_labels() if not label.kinds] == ["website", "bubble"]
