"""Stories and four-line poems from a random grammar: what the model learns to answer creative prompts with."""

from random import Random

from attnent.tiny.chance import pick, shuffled
from attnent.tiny.creative import with_article

_HOMES = [
    "in a hollow tree", "by a slow river", "under the old bridge", "at the edge of the wood", "in a tower of stone",
    "on a green hill", "near the cold sea", "behind the seven lakes", "in a cave of blue ice",
    "at the end of a long road",
]  # fmt: skip
_WISHES = [
    "to touch the moon", "to find a friend", "to cross the sea", "to learn a song", "to see the snow",
    "to build a boat", "to win the golden key", "to hear the stars", "to find the lost bell",
    "to sleep without dreams", "to fly like a bird", "to open the silver door",
]  # fmt: skip
_STARTS = [
    "One cold morning", "One night", "On the first day of spring", "When the rain came", "After a long winter",
    "One day at dawn", "In the middle of summer", "When the lamps went out", "Before the harvest",
]  # fmt: skip
_HELPERS = [
    "a talking fish", "an old beggar", "a red bird", "a lost child", "a wind from the north", "a silver mouse",
    "a blind piper", "a girl with a lantern", "a cloud", "two small bees", "a ghost", "a snail with a map",
]  # fmt: skip
_OBJECTS = [
    "a broken mirror", "a wooden flute", "a seed of glass", "a rope of hair", "a warm stone", "a paper crown",
    "a single feather", "a drop of light", "an empty cup", "a rusty sword", "a song without words", "a coat of leaves",
]  # fmt: skip
_TROUBLES = [
    "a storm broke the path", "the river rose", "a dragon woke up", "the night would not end", "the bridge fell down",
    "thieves came out of the fog", "the snow covered every sign", "all the birds fell silent", "the map burned",
    "the door had no handle",
]  # fmt: skip
_TURNS = [
    "sang until the morning", "waited and said nothing", "ran faster than the wind", "laughed out loud",
    "shared the last piece of bread", "told the truth at last", "hid under a root", "wept and was heard",
    "lit a small fire", "gave the gift away",
]  # fmt: skip
_ENDS = [
    "From that day nobody was alone.", "And the wish came true, but not as expected.",
    "Some say they still walk there.", "The whole valley danced till dawn.", "Then they went home, tired and glad.",
    "Nobody ever spoke of it again.", "The moon has kept the secret ever since.", "And so the long winter was over.",
    "What was lost had been at home all along.", "In the morning only footprints were left.",
]  # fmt: skip
_RHYMES = [
    ["across the sea", "for you and me", "under the tree", "wild and free", "as still as can be"],
    ["all through the night", "in silver light", "cold and white", "out of sight", "with wings in flight"],
    ["at break of day", "so far away", "soft and grey", "among the hay", "and will not stay"],
    ["after the rain", "along the lane", "again and again", "without a chain", "on the window pane"],
    ["beneath the moon", "all afternoon", "to an old tune", "in early June", "and gone too soon"],
    ["upon the hill", "deep and still", "against its will", "by the mill", "on the window sill"],
    ["of moss and stone", "all on its own", "where seeds are sown", "to bird and bone", "in a world unknown"],
    ["in the deep", "half asleep", "where roses sleep", "on paths so steep", "among the sheep"],
]
_SUBJECTS = [
    "A lantern", "My heart", "The wind", "A whisper", "The river", "An old song", "A white horse", "The dark",
    "A single leaf", "The morning", "A stranger", "The quiet snow", "A little boat", "The last bird", "A memory",
    "The silver rain",
]  # fmt: skip
_VERBS = ["wanders", "is sleeping", "sings", "is waiting", "drifts", "turns", "is calling", "dances", "falls", "shines"]
_MUSE_LINES = ["See how the {t}", "The {t}", "My {t}", "The old {t}", "I dream the {t}", "Tonight the {t}"]


def story(rng: Random, adjective: str, hero: str) -> str:
    """A story of four to six sentences about a hero."""
    wish, helper = pick(rng, _WISHES), pick(rng, _HELPERS)
    opening = pick(
        rng, ["Once there was {a} {h} who lived {home}.", "{A} {h} lived {home}.", "Long ago {a} {h} lived {home}."]
    )
    article = with_article(adjective)
    lines = [opening.format(a=article, A=article.capitalize(), h=hero, home=pick(rng, _HOMES))]
    lines.append(pick(rng, [f"The {hero} wanted {wish}.", f"Every night the {hero} longed {wish}."]))
    lines.append(f"{pick(rng, _STARTS)} {helper} came and brought {pick(rng, _OBJECTS)}.")
    if rng.random() < 0.7:
        lines.append(f"But then {pick(rng, _TROUBLES)}.")
    lines.append(
        pick(rng, ["So the {h} {turn}.", "The {h} {turn}.", "Yet the {h} {turn}."]).format(
            h=hero, turn=pick(rng, _TURNS)
        )
    )
    lines.append(pick(rng, _ENDS))
    return " ".join(lines)


def poem(rng: Random, adjective: str, muse: str) -> str:
    """Four lines about a muse, rhymed in pairs or crosswise; the first names the muse."""
    first, second = shuffled(rng, _RHYMES)[:2]
    ends = [*shuffled(rng, first)[:2], *shuffled(rng, second)[:2]]
    order = pick(rng, [[0, 1, 2, 3], [0, 2, 1, 3]])
    subjects = [pick(rng, _MUSE_LINES).format(t=f"{adjective} {muse}"), *shuffled(rng, _SUBJECTS)[:3]]
    lines = [f"{subject} {pick(rng, _VERBS)} {ends[at]}" for subject, at in zip(subjects, order, strict=True)]
    return f"{lines[0]},\n{lines[1]}.\n{lines[2]},\n{lines[3]}."
