import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from mmpipe.errors import InputError, WeightsError
from mmpipe.generation import conversion
from mmpipe.generation.conversion import converted
from mmpipe.generation.language_model import PLACEHOLDER, LanguageModel, ModelSource


@pytest.fixture
def gguf_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, LanguageModel]:
    """A tiny model as llama.cpp would write it, and the model itself; the cache is empty."""
    monkeypatch.setenv("MMPIPE_CACHE", str(tmp_path / "cache"))
    original = LanguageModel.tiny(seed=3)
    path = tmp_path / "tiny.gguf"
    write_gguf(original, path)
    return path, original


def write_gguf(original: LanguageModel, path: Path) -> None:
    config, state = original.model.config, original.model.state_dict()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    tokens = original.tokenizer.convert_ids_to_tokens(range(config.vocab_size))
    tokens[tokens.index("ÿ")] = "ÀÁ"  # a merge there must be; no text has these three bytes
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<") and len(token) > 1 else 1 for token in tokens])
    writer.add_token_merges(["À Á"])
    writer.add_bos_token_id(original.turn_start_id)
    writer.add_eos_token_id(original.turn_end_id)
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, weights in state.items():
        array = weights.numpy()
        if name.startswith("model.layers."):
            layer, _, rest = name.removeprefix("model.layers.").partition(".")
            target = names[rest.removesuffix(".weight")]
            if target in heads:  # llama.cpp turns pairs of neighbours, transformers the two halves
                array = array.reshape(heads[target], 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
            writer.add_tensor(f"blk.{layer}.{target}.weight", np.ascontiguousarray(array))
        elif name != "lm_head.weight":
            writer.add_tensor({"model.embed_tokens.weight": "token_embd.weight"}.get(name, "output_norm.weight"), array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_gguf_file_loads_as_the_model_it_was_made_of(gguf_file: tuple[Path, LanguageModel]) -> None:
    path, original = gguf_file
    loaded = LanguageModel.load(path)
    for name, weights in original.model.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[name], weights, atol=2e-3, rtol=1e-3)  # fp16 on disk
    assert loaded.encode("Räder, 2024!") == original.encode("Räder, 2024!")
    assert (loaded.placeholder_id, loaded.turn_end_id) == (original.placeholder_id, original.turn_end_id)


def test_numbers_are_split_into_digits_as_the_model_was_trained(gguf_file: tuple[Path, LanguageModel]) -> None:
    tokenizer = json.loads((converted(gguf_file[0]) / "tokenizer.json").read_text())
    assert [step["type"] for step in tokenizer["pre_tokenizer"]["pretokenizers"]] == ["Digits", "ByteLevel"]


def test_conversion_is_told_and_done_once(
    gguf_file: tuple[Path, LanguageModel], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="mmpipe"):
        folder = converted(gguf_file[0])
        monkeypatch.setattr(conversion, "_convert", None)
        assert converted(gguf_file[0]) == folder
    assert [record.getMessage() for record in caplog.records] == [
        "Converting tiny.gguf into what loads fast: half a minute, this once"
    ]


def test_conversion_wanted_by_many_at_once_is_done_once(
    gguf_file: tuple[Path, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    convert, calls = conversion._convert, []

    def counted(path: Path, target: Path) -> None:
        calls.append(target)
        convert(path, target)

    monkeypatch.setattr(conversion, "_convert", counted)
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(converted, [gguf_file[0]] * 4))) == 1
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "converted.json"])
def test_damaged_conversion_is_made_again(gguf_file: tuple[Path, LanguageModel], name: str) -> None:
    path, _ = gguf_file
    file = converted(path) / name
    right = file.read_bytes()
    file.write_bytes(right[: len(right) // 2])
    assert (converted(path) / name).read_bytes() == right


def test_conversion_that_broke_off_leaves_nothing_that_counts(
    gguf_file: tuple[Path, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_at_the_end(path: Path, target: Path) -> None:
        (target / "model.safetensors").write_bytes(b"half")
        raise WeightsError("no power")

    path, _ = gguf_file
    with monkeypatch.context() as patched:
        patched.setattr(conversion, "_convert", fails_at_the_end)
        with pytest.raises(WeightsError, match="no power"):
            converted(path)
    assert LanguageModel.load(path).hidden_size == 32


def test_what_is_no_gguf_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMPIPE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "photo.gguf"
    path.write_bytes(b"\xff\xd8\xff" * 100)
    with pytest.raises(WeightsError, match=r"photo\.gguf"):
        LanguageModel.load(path)


def test_unknown_dtype_is_refused() -> None:
    with pytest.raises(InputError, match="float32, bfloat16"):
        LanguageModel.load(dtype="int3")  # type: ignore[arg-type]


def test_model_without_chat_turns_is_refused() -> None:
    tiny = LanguageModel.tiny()
    tokenizer = type(tiny.tokenizer)(
        tokenizer_object=type(tiny.tokenizer.backend_tokenizer).from_str(
            tiny.tokenizer.backend_tokenizer.to_str().replace("<|im_start|>", "<|other|>")
        )
    )
    with pytest.raises(InputError, match=r"does not know <\|im_start\|>"):
        LanguageModel(tiny.model, tokenizer, ModelSource("mine", ""))


def test_text_never_becomes_a_special_token() -> None:
    tiny = LanguageModel.tiny()
    ids = tiny.encode(f"<|im_end|>{PLACEHOLDER}")
    assert max(ids) < 256
    assert tiny.tokenizer.decode(ids) == f"<|im_end|>{PLACEHOLDER}"


def test_tiny_models_differ_by_seed_and_leave_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    one, same, other = LanguageModel.tiny(1), LanguageModel.tiny(1), LanguageModel.tiny(2)
    assert torch.equal(torch.rand(3), expected)
    ids = one.encode("hello")
    assert torch.equal(one.embed(ids), same.embed(ids))
    assert not torch.equal(one.embed(ids), other.embed(ids))
