from __future__ import annotations

import pytest
import torch

from reluformer.ops.heads import empty_like_heads, join_heads, side_by_side, split_heads

B, L, H, D = 2, 3, 4, 5


@pytest.fixture
def joint():
    return torch.arange(B * L * 3 * H * D).view(B, L, 3 * H * D).float()


def test_heads_are_views_of_their_parts(joint):
    for part, heads in enumerate(split_heads(joint, H, 3)):
        assert heads.shape == (B, H, L, D) and heads.untyped_storage().data_ptr() == joint.data_ptr()
        assert torch.equal(heads.transpose(1, 2).flatten(2), joint[..., part * H * D : (part + 1) * H * D])


def test_adjacent_heads_are_joined_without_a_copy_and_others_with_one(joint):
    parts = split_heads(joint, H, 3)
    assert join_heads(parts).data_ptr() == joint.data_ptr()
    apart = [part.clone() for part in parts]
    swapped = (parts[0], parts[2], parts[1])
    whole = torch.stack([joint.view(B, L, 3, -1)[:, :, n] for n in (0, 2, 1)], 2).flatten(2)
    for heads, expected in ((parts, joint), (apart, joint), (swapped, whole), (parts[1:], joint[..., H * D :])):
        assert torch.equal(join_heads(heads), expected)
    assert join_heads(parts[1:]).data_ptr() != joint.data_ptr()  # two of the three parts of a token


def test_empty_heads_are_adjacent_if_the_tensors_are(joint):
    query, key, value = split_heads(joint, H, 3)
    assert side_by_side(empty_like_heads((query, key, value)))
    alone, *pair = empty_like_heads((query[:, :, :2], key, value))
    assert alone.shape == (B, H, 2, D) and side_by_side((alone,)) and side_by_side(pair)
    empties = empty_like_heads((query, value, key.clone()))
    assert [empty.shape for empty in empties] == 3 * [query.shape] and all(side_by_side((empty,)) for empty in empties)
    assert [empty.shape for empty in empty_like_heads((query[:0], key[:0]))] == 2 * [(0, H, L, D)]


@pytest.mark.parametrize("together", [False, True])
def test_the_gradient_is_that_of_the_views(joint, together):
    grads = split_heads(torch.randn(joint.shape), H, 3) if together else torch.randn(3, B, H, L, D).unbind()
    leaf = joint.requires_grad_()
    split = split_heads(leaf, H, 3)
    (ours,) = torch.autograd.grad(split, leaf, grads)
    (theirs,) = torch.autograd.grad(leaf.view(B, L, 3, H, D).permute(2, 0, 3, 1, 4).unbind(0), leaf, grads)
    assert torch.equal(ours, theirs)
    assert (ours.data_ptr() == grads[0].data_ptr()) == together
    (middle,) = torch.autograd.grad(split_heads(leaf, H, 3)[1].sum(), leaf)
    assert torch.equal(middle.view(B, L, 3, -1).amax((0, 1, 3)), torch.tensor([0.0, 1.0, 0.0]))
