"""What counts as a right answer, as the public evaluators have it.

Sources: the answer processor and the accuracy of TextVQA in facebookresearch/mmf
(``m4c_evaluators.py``), which LLaVA uses as well; LLaVA's ``convert_gqa_for_eval.py``
and GQA's ``eval.py``; LLaVA's ``eval_science_qa.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten".split()
    )
} | {"none": "0"}
_ARTICLES = ("a", "an", "the")
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_MOST_PERIODS = 32  # the evaluator passes re.UNICODE, which is 32, as the count
_WITH_APOSTROPHES = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've
hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am
mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't
'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll
somebody's someone'd someone'd've someone'll someone's something'd something'd've
something'll that's there'd there'd've there're there's they'd they'd've they'll
they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't
would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're
you've
""".split()


def _contractions() -> dict[str, str]:
    """Every word of the list, with any one apostrophe forgotten, -> the word."""
    table = {}
    for word in _WITH_APOSTROPHES:
        for place, letter in enumerate(word):
            if letter == "'":
                table[word[:place] + word[place + 1 :]] = word
    table["somebody'd"] = "somebodyd"  # the public table has it the wrong way round
    return table


CONTRACTIONS = _contractions()


def normalise(answer: str) -> str:
    """Bring an answer into the form that VQA's evaluators compare.

    In this order: lower case; commas and question marks away; ``'s`` apart from its
    word; line breaks and tabs become spaces; each punctuation mark goes, and becomes a
    space unless one stands beside that mark somewhere in the answer; periods not
    followed by a digit go; number words up to ten (and ``none``) become digits;
    articles go; forgotten apostrophes of contractions come back.

    Args:
        answer: As a model or a person wrote it.
    """
    text = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    bare = text
    for mark in _PUNCTUATION:
        beside = f"{mark} " in text or f" {mark}" in text
        bare = bare.replace(mark, "" if beside else " ")
    bare = re.sub(r"\.(?!\d)", "", bare, count=_MOST_PERIODS)
    words = [NUMBERS.get(word, word) for word in bare.split()]
    return " ".join(CONTRACTIONS.get(w, w) for w in words if w not in _ARTICLES)


def ten_answer_score(prediction: str, answers: Sequence[str]) -> float:
    """VQA's accuracy: right is what three of nine other people say.

    The mean over the answers, each left out once, of ``min(1, matches / 3)`` among the
    others. Three of ten matching answers make 0.9, four make 1.

    Args:
        prediction: A model's answer.
        answers: Ten, or at least four.

    Raises:
        ValueError: There are fewer than four answers, too few for full marks.
    """
    if len(answers) < 4:
        raise ValueError(
            f"The ten-answer rule expects ten answers (at least 4), got "
            f"{len(answers)}; use rule='exact'."
        )
    said = normalise(prediction)
    match = [normalise(answer) == said for answer in answers]
    total = sum(match)
    return sum(min(1.0, (total - m) / 3) for m in match) / len(match)


def exact_score(prediction: str, answers: Sequence[str]) -> float:
    """1 if the normalised prediction is one of the normalised answers, else 0."""
    return float(normalise(prediction) in {normalise(answer) for answer in answers})


def gqa_score(prediction: str, answers: Sequence[str]) -> float:
    """GQA's equality after LLaVA's conversion: no final periods, lower case."""
    return float(prediction.rstrip(".").lower() == answers[0])


def option_letter(text: str) -> str | None:
    """Find the option letter, A to E, in an answer to a multiple-choice question.

    LLaVA's rules: the letter alone; the letter, a period and a space at the start (a
    line break counts as ``'. '``); ``The answer is X``. Ours on top, which LLaVA counts
    as failed: ``A.``, ``(A)``, ``(A) text``, ``A)``, ``A:``, and ``The answer is (X)``
    with any case of its words.

    Args:
        text: A model's answer.

    Returns:
        The letter; None if there is none.
    """
    text = text.strip()
    found = re.match(r"\(?([A-E])(?:$|[.):](?:\s|$)|\n)", text)
    if not found:
        found = re.search(
            r"(?i:the answer is:?) \(?([A-E])(?![A-Za-z])",
            text.replace("\n", " "),
        )
    return found.group(1) if found else None
