"""The peer of `preferences.py`, run by the Python of an environment with scikit-learn: TF-IDF and logistic regression.

    python tf_idf_peer.py TRAIN.jsonl EVAL.jsonl

Texts are words and pairs of words by TF-IDF; the regression without an intercept is over the difference of the two
texts, told from both sides; its penalty is chosen by five-fold cross-validation over the prompts of the training file.
Prints one JSON list: the margin of chosen over rejected of every line of EVAL. Imports nothing of the project.
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, vstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold

PENALTIES = {"C": [0.01, 0.1, 1.0, 10.0, 100.0]}


def read(path: str) -> list[dict]:
    """Every line of a file."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def margins(train: list[dict], held_out: list[dict]) -> list[float]:
    """How far chosen is ahead of rejected in each row of held_out, by a model of train."""
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    words.fit([row[side] for row in train for side in ("chosen", "rejected")])

    def differences(rows: list[dict]) -> csr_matrix:
        return words.transform([r["chosen"] for r in rows]) - words.transform([r["rejected"] for r in rows])

    known = differences(train)
    sides = vstack([known, -known]).tocsr()
    labels = np.repeat([1, 0], len(train))
    prompts = [row["prompt"] for row in train] * 2
    search = GridSearchCV(LogisticRegression(fit_intercept=False, max_iter=2000), PENALTIES, cv=GroupKFold(5))
    search.fit(sides, labels, groups=prompts)
    return search.decision_function(differences(held_out)).tolist()


if __name__ == "__main__":
    print(json.dumps(margins(read(sys.argv[1]), read(sys.argv[2]))))
