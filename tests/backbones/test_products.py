"""Linear layers and attention of frozen backbones: what torch's own give."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from likewise.backbones import products

DTYPES = torch.float32, torch.bfloat16, torch.float16


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("shape", [(3, 5, 8), (2, 3, 4, 8), (7, 8)])
def test_a_linear_layer_in_one_pass(dtype: torch.dtype, gelu: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 6).requires_grad_(False)
    x = torch.randn(*shape)
    wanted = layer(x)
    wanted = functional.gelu(wanted) if gelu else wanted
    found = products.linear(x.to(dtype), layer.to(dtype), gelu)
    assert found.dtype == dtype
    tolerance = {torch.float32: 1e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(found.float(), wanted, atol=tolerance, rtol=tolerance)


def test_without_such_products_or_while_traced_it_is_torchs_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 6).requires_grad_(False)
    x = torch.randn(2, 3, 8)
    wanted = functional.gelu(layer(x))
    with warnings.catch_warnings(action="ignore"):  # OpenVINO still traces so
        traced = torch.jit.trace(lambda t: products.linear(t, layer, gelu=True), x)
    assert "mkldnn" not in str(traced.graph)
    monkeypatch.setattr(products, "in_one_pass", lambda dtype: False)
    assert torch.equal(products.linear(x, layer, gelu=True), wanted)
    assert torch.equal(traced(x), wanted)


def test_a_processor_or_a_torch_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products.platform, "machine", lambda: "arm64")
    products.in_one_pass.cache_clear()
    try:
        assert not products.in_one_pass(torch.float32)
    finally:
        products.in_one_pass.cache_clear()


@pytest.mark.parametrize("queries", [1, 40, 57])
@pytest.mark.parametrize("entries", [1, 1000, 1 << 24])
def test_attention_by_products(queries: int, entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "products_are_faster", lambda: True)
    monkeypatch.setattr(products, "ENTRIES", entries)
    torch.manual_seed(0)
    q = torch.randn(2, queries, 3, 8).transpose(1, 2)
    k, v = torch.randn(2, 2, 57, 3, 8).transpose(2, 3)
    wanted = functional.scaled_dot_product_attention(q, k, v)
    assert torch.equal(products.attention(q, k, v), wanted)  # float32 is torch's
    found = products.attention(q.bfloat16(), k.bfloat16(), v.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), wanted, atol=3e-2, rtol=3e-2)


@pytest.mark.parametrize(
    ("flags", "faster"),
    [({"avx512_bf16"}, True), ({"avx512_bf16", "amx_bf16"}, False), ({"avx2"}, False)],
)
def test_where_products_are_faster(
    flags: set[str], faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "processor_has", lambda: frozenset(flags))
    assert products.products_are_faster() is faster
