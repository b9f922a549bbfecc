from pathlib import Path

import pytest

from optuna_tuner.engines.embedded import GGUF_NAME, builtin_model_path, located_model
from optuna_tuner.engines.llama_cpp import gguf_file
from optuna_tuner.values import Model

pytest.importorskip("numpy")

import numpy as np

from optuna_tuner.engines.embedded.gguf_file import gguf_name, interleaved
from optuna_tuner.engines.embedded.vocabulary import SPECIAL, Vocabulary
from optuna_tuner.engines.embedded.weights import Shape, random_weights

Vector = np.ndarray[tuple[int], np.dtype[np.float32]]
SMALL = Shape(hidden=64, layers=2, heads=4, kv_heads=2, ffn=96, vocabulary=300)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    pytest.importorskip("tokenizers")
    return Vocabulary.train(600)


def test_builtin_means_the_folder_of_the_model_made_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path))
    folder = str(builtin_model_path())
    assert located_model("tiny", "builtin", None) == Model(name="tiny", path=folder, tokenizer=folder)
    assert not list(tmp_path.iterdir())


def test_another_model_is_left_as_it_is() -> None:
    assert located_model("m", "/m", "org/t") == Model(name="m", path="/m", tokenizer="org/t")
    assert located_model("org/m", None, None) == Model(name="org/m", path="org/m", tokenizer="org/m")


def test_a_folder_stands_for_its_gguf_file() -> None:
    assert gguf_file("/models/tiny/") == f"/models/tiny/{GGUF_NAME}"
    assert gguf_file("/models/other.gguf") == "/models/other.gguf"


def test_training_the_tokenizer_twice_gives_the_same_one(vocabulary: Vocabulary) -> None:
    assert Vocabulary.train(600) == vocabulary


def test_only_tokens_that_show_are_speakable(vocabulary: Vocabulary) -> None:
    spoken = [vocabulary.tokens[token] for token in range(600) if vocabulary.speakable(token)]
    assert "a" in spoken
    assert "\u0120the" in spoken
    assert not {*SPECIAL, "\u0120", "\u010a", "\u00c3"} & {*spoken}


def test_the_weights_are_always_the_same() -> None:
    first, second = (random_weights(SMALL, lambda token: token % 2 == 0) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_what_is_not_speakable_never_wins() -> None:
    weights = random_weights(SMALL, lambda token: token >= 20)
    residual = np.random.default_rng(1).standard_normal((1000, SMALL.hidden)).astype(np.float32) * 5
    residual[:, 0] = 1.0
    normed = residual / np.sqrt((residual**2).mean(axis=1, keepdims=True))
    assert (normed @ weights["lm_head.weight"].T).argmax(axis=1).min() >= 20


def test_no_layer_writes_to_the_residual_coordinate_that_silences() -> None:
    weights = random_weights(SMALL, lambda _token: True)
    writers = [values for name, values in weights.items() if name.endswith(("o_proj.weight", "down_proj.weight"))]
    assert len(writers) == 2 * SMALL.layers
    assert not any(values[0].any() for values in writers)
    assert (weights["model.embed_tokens.weight"][:, 0] == 1.0).all()


def test_tensor_names_in_gguf() -> None:
    assert gguf_name("lm_head.weight") == "output.weight"
    assert gguf_name("model.layers.11.self_attn.q_proj.weight") == "blk.11.attn_q.weight"


def test_attention_scores_are_the_same_with_halves_rotated_and_with_neighbours_rotated() -> None:
    shape = Shape(hidden=16, heads=2, kv_heads=2)
    random = np.random.default_rng(3)
    query, key = (random.standard_normal((16, 16)).astype(np.float32) for _ in range(2))
    x, y = random.standard_normal((2, 16)).astype(np.float32)
    angles = 1.7 / 10000 ** (np.arange(4) / 4)

    def halves(vector: Vector) -> Vector:
        a, b = vector[:4], vector[4:]
        return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)])

    def neighbours(vector: Vector) -> Vector:
        a, b = vector[0::2], vector[1::2]
        pairs = a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)
        return np.stack(pairs, axis=1).ravel()

    plain = halves((query @ x)[:8]) @ (key @ y)[:8]
    query_there = interleaved("model.layers.0.self_attn.q_proj.weight", query, shape)
    key_there = interleaved("model.layers.0.self_attn.k_proj.weight", key, shape)
    assert neighbours((query_there @ x)[:8]) @ (key_there @ y)[:8] == pytest.approx(plain, rel=1e-5)
