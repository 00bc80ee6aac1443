# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The parts against formulas written out."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_concept import (
    ENCODER_LAYERS,
    ConceptEncoder,
    OriginalConceptEncoder,
    OriginalConceptEncoderConfig,
    RecursiveConceptEncoder,
    loss_concept,
)
from modeling_concept.attention_concept import ConceptAttention, make_key_mask
from modeling_concept.decoder_concept import TIMESTEP_SCALE, timestep_features
from modeling_concept.encoder_layers_concept import BidirectionalAttention, LayerContext, SlotAttention
from modeling_concept.layers_concept import ConvolutionMixer
from modeling_concept.positions_concept import Segments, apply_rotary, make_rotary, text_layout

from .zoo import DECODER_NAMES, SIZES, classifier, language_model, make_config, random_batch, stir


def initialised(part, config):
    """Parts made outside a model have unset parameters."""
    for parameter in part.parameters():
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    config._attn_implementation = "eager"
    return part


# -- positions


@given(
    before=st.integers(0, 3),
    length=st.integers(1, 9),
    after=st.integers(0, 3),
    holes=st.sets(st.integers(1, 7)),
)
@settings(max_examples=60, deadline=None)
def test_layout_counts_from_the_first_to_the_last_attended_token(before, length, after, holes):
    text = [int(not (0 < place < length - 1 and place in holes)) for place in range(length)]
    mask = torch.tensor([[0] * before + text + [0] * after])
    layout = text_layout(mask, mask.shape[1], None, mask.device)
    assert layout.lengths.tolist() == [length]
    assert layout.positions[0, before : before + length].tolist() == list(range(length))
    assert torch.equal(layout.visible, mask.bool())


@given(length=st.integers(1, 40), count=st.integers(1, 24), behind=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_segments_are_whole_tokens_and_balanced(length, count, behind):
    segments = Segments(torch.tensor([length]), count)
    segment, offset = (row[0].tolist() for row in segments.locate(torch.arange(length + behind)[None]))
    used = min(count, length)
    assert segment[:length] == [place * used // length for place in range(length)]
    assert offset == [segment[:place].count(segment[place]) for place in range(length + behind)]
    sizes = [segment[:length].count(index) for index in range(used)]
    assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1
    first = segments.first_token(torch.arange(used)[None])[0].tolist()
    assert first == [segment.index(index) for index in range(used)]


def test_rotary_encoding_turns_pairs_of_channels():
    """As complex numbers, whose real parts are the first half of the channels."""
    states, positions = torch.randn(2, 3, 5, 8), 10 * torch.rand(2, 5)
    turns = positions[:, None, :, None] * 100.0 ** (-torch.arange(4) / 4)
    expected = torch.view_as_complex(torch.stack(states.chunk(2, dim=-1), dim=-1)) * torch.exp(1j * turns)
    found = apply_rotary(states, make_rotary(positions, 8, 100.0, torch.float32))
    torch.testing.assert_close(found, torch.cat([expected.real, expected.imag], dim=-1), atol=1e-5, rtol=1e-5)


def test_rotary_scores_depend_on_distance_alone():
    query, key = torch.randn(1, 1, 1, 16).expand(1, 1, 5, 16), torch.randn(1, 1, 1, 16).expand(1, 1, 5, 16)
    scores = []
    for shift in (0.0, 13.5):
        rotary = make_rotary(torch.arange(5.0)[None] + shift, 16, 1000.0, torch.float32)
        scores.append(apply_rotary(query, rotary) @ apply_rotary(key, rotary).transpose(-1, -2))
    torch.testing.assert_close(scores[0], scores[1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        scores[0].diagonal(dim1=-2, dim2=-1)[..., :-1], scores[0].diagonal(dim1=-2, dim2=-1)[..., 1:]
    )
    assert apply_rotary(query, None) is query


def test_offset_features_count_tokens_of_a_segment():
    """Equal for texts of any length, and as far apart as can be; long segments are stretched over them."""
    features = [Segments(torch.tensor([n]), 16).offset_features(torch.arange(n)[None], 8)[0] for n in (64, 63, 100)]
    assert torch.equal(features[0][:4], features[0][60:]) and torch.equal(features[0][:63], features[1])
    torch.testing.assert_close(features[2][:4], features[0][:4])
    assert torch.cdist(features[0][:4], features[0][:4])[~torch.eye(4).bool()].min() > 3.9
    long = Segments(torch.tensor([640]), 16).offset_features(torch.arange(40)[None], 8)[0]
    assert torch.cdist(long, long)[~torch.eye(40).bool()].min() > 0.5


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 9), mask=st.lists(st.lists(st.integers(0, 1), min_size=7, max_size=7), min_size=1))
def test_means_of_segments(count, mask):
    """Each is the mean of the visible tokens of a segment, whatever padding and holes there are."""
    mask, states = torch.tensor(mask), torch.randn(len(mask), 7, 3)
    hidden = torch.rand(mask.shape) < 0.2
    layout = text_layout(mask, 7, hidden, "cpu")
    segments = Segments(layout.lengths, count)
    found = segments.means(states, layout)
    for row in range(len(mask)):
        text = mask[row].nonzero().squeeze(1)
        if not len(text):
            assert not found[row].any()
            continue
        first, length = int(text[0]), int(text[-1] - text[0] + 1)
        used = min(length, count)
        for segment in range(count):
            tokens = [
                states[row, first + place]
                for place in range(length)
                if place * used // length == segment and mask[row, first + place] and not hidden[row, first + place]
            ]
            expected = torch.stack(tokens).mean(dim=0) if tokens else torch.zeros(3)
            torch.testing.assert_close(found[row, segment], expected)


def test_concepts_that_start_from_their_segments():
    """A network whose layers add nothing gives the means of the segments, about the mean of the text."""
    encoder = ConceptEncoder(make_config(concept_start="segment", concept_mean="uniform")).eval()
    for name, parameter in encoder.named_parameters():
        if "o_proj" in name:
            torch.nn.init.zeros_(parameter)
    ids = torch.randint(5, encoder.config.vocab_size, (2, 24))
    states = encoder.embeddings(ids, None, text_layout(None, 24, None, "cpu"))
    means = states.unflatten(1, (encoder.config.concept_num, -1)).mean(dim=2)
    torch.testing.assert_close(encoder(ids).last_hidden_state, encoder.finish(means, states.mean(dim=1, keepdim=True)))


def test_rotary_positions_count_segments():
    segments = Segments(torch.tensor([64]), 16)
    places, concepts = segments.token_places(torch.arange(64)[None])[0], segments.concept_places()[0]
    nearest = (places[:, None] - concepts).abs().argmin(dim=1)
    assert nearest.tolist() == [place // 4 for place in range(64)] and torch.equal(places, concepts[nearest])


# -- attention


@pytest.mark.parametrize("encoder_type", sorted(ENCODER_LAYERS))
def test_one_token_alone_does_not_multiply_rounding_errors(encoder_type):
    """What all concepts read alike is taken out of what they keep: were that all there is, norms of nearly nothing,
    one after the other, would make gradients of rounding errors."""
    encoder = stir(ConceptEncoder(make_config(encoder_type=encoder_type, num_hidden_layers=6)))
    weights, gradients = torch.randn(1, 6, 32), []
    for dtype in (torch.float32, torch.float64):
        encoder.to(dtype).zero_grad()
        (encoder(torch.tensor([[7]])).last_hidden_state * weights).sum().backward()
        gradients.append({n: p.grad.double().clone() for n, p in encoder.named_parameters() if p.grad is not None})
    assert len(gradients[0]) > 20
    torch.testing.assert_close(*gradients, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("encoder_type", sorted(ENCODER_LAYERS))
@pytest.mark.parametrize("decoder", ["position", "token_position", "diffusion"])
def test_networks_start_as_sums_of_what_they_read(decoder, encoder_type):
    """In an untrained network concepts are sums of token states, whose values the first layer makes for all, or each
    for itself, and decoders read sums of concepts."""
    model = language_model(decoder=decoder, encoder_type=encoder_type)
    config, weights = model.config, dict(model.named_parameters())
    crossing = [name for name in weights if "cross_attn.o_proj" in name or "cross_attn.v_proj" in name]
    projecting = config.num_hidden_layers if encoder_type == "bixt" else 1
    assert len(crossing) == 2 * config.num_decoder_layers + config.num_hidden_layers + projecting
    for name in crossing:
        assert torch.equal(weights[name], torch.eye(config.hidden_size))
    for layer in model.encoder.layers:
        attention, own = layer.self_attn, encoder_type == "content"
        assert torch.equal(attention.o_proj.weight, own * torch.eye(config.hidden_size))
        assert torch.equal(attention.v_proj.weight, torch.eye(config.hidden_size)) == own
        assert not layer.feed_forward.down_proj.weight.any()


@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("encoder_type", sorted(ENCODER_LAYERS))
def test_a_given_mean_is_that_of_the_tokens(encoder_type, recursive):
    """Whatever the layers write, the sentence vector is the mean of what was read, without segment offsets, for any
    length and any number of concepts."""
    encoder_class = RecursiveConceptEncoder if recursive else ConceptEncoder
    encoder = stir(encoder_class(make_config(recursive, encoder_type=encoder_type))).eval()
    config, batch = encoder.config, random_batch()
    states = encoder.embeddings.norm(encoder.get_input_embeddings()(batch["input_ids"]))
    read = (batch["attention_mask"].bool() & (batch["input_ids"] != config.mask_token_id))[:, :, None]
    mean = (states * read).sum(dim=1) / read.sum(dim=1)
    for count in (config.concept_num, 3):
        output = encoder(**batch, concept_num=count)
        torch.testing.assert_close(output.pooler_output, mean, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(encoder.get_sentence_features(**batch).pooler_output, mean, atol=1e-5, rtol=1e-4)
        assert output.last_hidden_state.std(dim=1).mean() > 0.1


@pytest.mark.parametrize("encoder_class", [ConceptEncoder, OriginalConceptEncoder])
def test_a_free_mean_is_that_of_the_concepts_in_every_way_to_it(encoder_class):
    own = encoder_class is OriginalConceptEncoder
    config = OriginalConceptEncoderConfig(**SIZES) if own else make_config(concept_mean="free")
    encoder, batch = stir(encoder_class(config)).eval(), random_batch()
    torch.testing.assert_close(encoder.get_sentence_features(**batch).pooler_output, encoder(**batch).pooler_output)


@pytest.mark.parametrize("encoder_type", ["perceiver", "bixt"])
def test_attention_starts_at_addresses(encoder_type):
    """In untrained networks most of a concept's attention lies on its own segment, and without biases the share that
    chance gives."""
    ids = torch.randint(10, make_config().vocab_size, (8, 24))
    own = torch.eye(6).repeat_interleave(4, dim=1).bool()
    share = {}
    for biased in (True, False):
        encoder = ConceptEncoder(make_config(encoder_type=encoder_type)).eval()
        for name, parameter in encoder.named_parameters():
            if not biased and name.endswith(("query_bias", "key_bias")):
                parameter.data.zero_()
        encoder.set_attn_implementation("eager")
        maps = torch.stack(encoder(ids, output_attentions=True).cross_attentions)
        share[biased] = float(maps.mean(dim=(0, 1, 2))[own].view(6, 4).sum(dim=1).mean())
    assert share[False] == pytest.approx(4 / 24, abs=0.05)
    assert share[True] > 0.6


@pytest.mark.parametrize("encoder_type", sorted(ENCODER_LAYERS))
def test_content_alone_decides_what_concepts_read_from_each_other(encoder_type):
    """Of `content` layers; in the others places decide, too."""
    config = make_config(encoder_type=encoder_type)
    config._attn_implementation = "eager"
    layer, order = stir(ConceptEncoder(config)).layers[0].eval(), torch.tensor([3, 0, 5, 1, 4, 2])
    concepts, queries = torch.randn(2, 6, 32), torch.randn(6, 32)
    places = make_rotary(Segments(torch.tensor([24]), 6).concept_places(), 8, config.rope_theta, torch.float32)
    read, moved = (
        layer.mix(states, queries, LayerContext(None, places, None)) for states in (concepts, concepts[:, order])
    )
    assert torch.allclose(read[:, order], moved, atol=1e-5) == (encoder_type == "content")


def similarity(attention, queries, keys):
    """Scaled cosines [B, heads, Q, K] of queries [B, Q, H] and projected keys [B, K, heads, D]."""
    q = F.normalize(attention.q_proj(queries).unflatten(-1, (4, 8)) + attention.query_bias, dim=-1)
    k = F.normalize(keys + attention.key_bias, dim=-1)
    return torch.einsum("bqhd,bkhd->bhqk", q, k) * attention.qk_scale[:, None, None]


def test_scores_are_scaled_cosines():
    config = make_config()
    attention = initialised(ConceptAttention(config), config)
    attention.qk_scale.data = torch.tensor([8.0, 2.0, 1.0, 4.0])
    queries, states = torch.randn(2, 3, 32), torch.randn(2, 5, 32)
    _, weights, _ = attention(queries, states)
    scores = similarity(attention, queries, attention.k_proj(states).view(2, 5, 4, 8))
    torch.testing.assert_close(weights, scores.softmax(-1))


def test_slot_attention_is_softmax_over_concepts_then_mean_over_tokens():
    config = make_config()
    attention = initialised(SlotAttention(config), config)
    concepts, tokens = torch.randn(2, 3, 32), torch.randn(2, 5, 32)
    visible = torch.tensor([[True] * 5, [True, True, False, True, False]])
    update, weights, _ = attention(concepts, tokens, make_key_mask(config, concepts, tokens, visible))
    k, v = (projection(tokens).view(2, 5, 4, 8) for projection in (attention.k_proj, attention.v_proj))
    competition = similarity(attention, concepts, k).softmax(dim=2) + 1e-8
    competition = competition * visible[:, None, None]
    expected = competition / competition.sum(-1, keepdim=True)
    torch.testing.assert_close(weights, expected)
    value = torch.einsum("bhqk,bkhd->bqhd", expected, v).reshape(2, 3, 32)
    torch.testing.assert_close(update, attention.o_proj(value))


def test_bixt_uses_one_similarity_both_ways():
    config = make_config()
    attention = initialised(BidirectionalAttention(config, updates_tokens=True), config)
    concepts, tokens = torch.randn(2, 3, 32), torch.randn(2, 5, 32)
    visible = torch.tensor([[True] * 5, [True, True, False, True, False]])
    mask = make_key_mask(config, concepts, tokens, visible)
    update, weights, token_update = attention(concepts, concepts, tokens, mask, None, None)
    scores = similarity(attention, concepts, attention.k_proj(tokens).view(2, 5, 4, 8))
    expected = scores.masked_fill(~visible[:, None, None], -torch.inf).softmax(-1)
    torch.testing.assert_close(weights, expected)
    values = attention.reverse_v_proj(concepts).view(2, 3, 4, 8)
    back = torch.einsum("bhqk,bqhd->bkhd", scores.softmax(2), values).reshape(2, 5, 32)
    torch.testing.assert_close(token_update, attention.reverse_o_proj(back))
    v = attention.v_proj(tokens).view(2, 5, 4, 8)
    forth = torch.einsum("bhqk,bkhd->bqhd", expected, v).reshape(2, 3, 32)
    torch.testing.assert_close(update, attention.o_proj(forth))


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_nothing_to_read_is_exactly_no_update(implementation):
    config = make_config()
    attention = initialised(ConceptAttention(config), config)
    config._attn_implementation = implementation
    concepts, tokens = torch.randn(2, 3, 32), torch.randn(2, 5, 32)
    visible = torch.tensor([[False] * 5, [True] * 5])
    update, *_ = attention(concepts, tokens, make_key_mask(config, concepts, tokens, visible))
    assert (update[0] == 0).all()
    assert (update[1] != 0).any()


# -- mixers


def test_convolution_mixer_is_a_gated_depthwise_convolution():
    config = make_config()
    mixer = initialised(ConvolutionMixer(config, 5, 1.0), config)
    states, visible = torch.randn(2, 11, 32), torch.rand(2, 11) < 0.7
    values, gate = mixer.in_proj(mixer.norm(states)).chunk(2, -1)
    values = (values * visible[..., None]).transpose(1, 2)
    convolved = F.conv1d(values, mixer.convolution.T[:, None], padding=2, groups=32).transpose(1, 2)
    expected = states + mixer.out_proj(convolved * F.silu(gate))
    torch.testing.assert_close(mixer(states, visible), expected, atol=1e-5, rtol=1e-4)


# -- decoders


@pytest.mark.parametrize("width", [0, 3])
def test_masked_position_sees_a_revealed_neighbour_only_through_mixing(width):
    model = stir(language_model(decoder="diffusion", decoder_conv_width=width))
    batch = random_batch(rows=1, padding=(0,))
    noised = batch["input_ids"].clone()
    noised[0, 4:7] = 3
    changed = noised.clone()
    changed[0, 3] = 5 + (noised[0, 3] + 1) % 50
    one, other = (
        model(**batch, decoder_input_ids=ids, timesteps=torch.tensor([0.5])).logits[0, 4] for ids in (noised, changed)
    )
    assert torch.allclose(one, other, atol=1e-6) == (width == 0)


def test_position_decoder_sees_the_text_through_concepts_alone():
    model, batch = stir(language_model(decoder="position")), random_batch()
    found = model(**batch, decoder_input_ids=torch.randint(5, 60, (3, 13))).logits
    torch.testing.assert_close(found, model(**batch).logits)


@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("decoder", DECODER_NAMES)
@torch.no_grad()
def test_a_classifier_reads_a_text_through_its_concepts_alone_unless_told_otherwise(decoder, recursive):
    """Two texts of one length with the same concepts get the same logits."""
    encoder = "perceiver0-recursive" if recursive else "perceiver0-stack"
    model = stir(classifier("ViaDecoder", encoder, decoder_type=decoder, decoder_conv_width=3))
    batch = random_batch()
    concepts = model.encoder(**batch)
    model.encoder.forward = lambda *inputs, **kwargs: concepts
    one, other = (model(ids, batch["attention_mask"]).logits for ids in (batch["input_ids"], torch.full((3, 13), 7)))
    assert torch.equal(one, other)
    states = model.get_input_embeddings()(batch["input_ids"])
    assert torch.equal(model(inputs_embeds=states, attention_mask=batch["attention_mask"]).logits, one)

    model.config.classifier_reads_tokens = True
    one, other = (model(ids, batch["attention_mask"]).logits for ids in (batch["input_ids"], torch.full((3, 13), 7)))
    assert torch.equal(one, other) != model.decoder.reads_tokens


def test_a_decoder_that_reads_tokens_needs_a_mask_token_to_be_shown():
    model = classifier("ViaDecoder", decoder_type="token_position", mask_token_id=None)
    with pytest.raises(ValueError, match="has token queries, here mask tokens: set config.mask_token_id"):
        model(**random_batch())
    assert classifier("ViaDecoder", decoder_type="position", mask_token_id=None)(**random_batch()).logits.shape == (
        3,
        3,
    )


def test_timestep_sinusoids_separate_levels():
    cosines = {}
    for scale in (1.0, TIMESTEP_SCALE):
        low, high = timestep_features(torch.tensor([0.3, 1.0]), 512, scale)
        cosines[scale] = float(F.cosine_similarity(low, high, dim=0))
    assert cosines[1.0] > 0.98
    assert cosines[TIMESTEP_SCALE] < 0.3


def test_position_of_a_continuation_follows_the_prefix():
    """With rotary positions and segment offsets, decoding a continuation is decoding further positions of the text."""
    model = stir(language_model(decoder="diffusion", decoder_conv_width=0))
    batch = random_batch(rows=2, length=8, padding=(0, 0))
    encoded = model.encoder(**batch)
    suffix = torch.randint(5, 60, (2, 3))
    after = model.make_targets(suffix, None, timesteps=torch.tensor([0.5, 0.5]))
    continued = model.decode(model.prepare_memory(encoded, continues=True), after)
    further = model.decode(model.prepare_memory(encoded), after._replace(positions=after.positions + 8))
    torch.testing.assert_close(continued, further, atol=1e-4, rtol=1e-3)


# -- loss


@given(
    rows=st.integers(0, 40),
    vocabulary=st.integers(2, 30),
    chunk=st.integers(1, 400),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_chunked_cross_entropy_equals_torch(rows, vocabulary, chunk, seed):
    torch.manual_seed(seed)
    hidden = torch.randn(rows, 8, requires_grad=True)
    head = torch.nn.Linear(8, vocabulary, bias=False)
    labels, weights = torch.randint(0, vocabulary, (rows,)), torch.rand(rows)
    original, loss_concept.CHUNK_ELEMENTS = loss_concept.CHUNK_ELEMENTS, chunk
    try:
        loss = loss_concept.head_loss(head, hidden, labels, weights, 7)
    finally:
        loss_concept.CHUNK_ELEMENTS = original
    expected = (F.cross_entropy(head(hidden), labels, reduction="none") * weights).sum() / 7
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    inputs = (hidden, head.weight)
    for ours, theirs in zip(
        torch.autograd.grad(loss * 3, inputs), torch.autograd.grad(expected * 3, inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@given(rows=st.integers(0, 9), vocabulary=st.integers(2, 30), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("wrapped", [False, True])
def test_loss_over_a_sample_of_the_vocabulary(wrapped, rows, vocabulary, seed, data):
    """The cross-entropy of softmax with the weights of the sampled tokens; a sample of all tokens, each counted once,
    changes nothing."""
    torch.manual_seed(seed)
    hidden = torch.randn(rows, 8, requires_grad=True)
    linear = torch.nn.Linear(8, vocabulary, bias=False)
    head = torch.nn.Sequential(linear) if wrapped else linear
    labels, weights = torch.randint(0, vocabulary, (rows,)), torch.rand(rows) * (torch.arange(rows) % 3 > 0)
    others = data.draw(st.sets(st.integers(0, vocabulary - 1), min_size=1))
    ids = torch.tensor(sorted({*others, *labels[weights > 0].tolist()}))
    counts = 1 + 4 * torch.rand(len(ids))
    loss = loss_concept.head_loss(head, hidden, labels, weights, 7, loss_concept.SampledVocabulary(ids, counts))
    logits = linear(hidden)
    chosen = logits.gather(1, labels[:, None])[:, 0]
    own = torch.zeros(vocabulary).index_put((ids,), counts)[labels].log()
    masses = (logits[:, ids].exp() * counts).sum(dim=1).log()
    expected = torch.where(weights > 0, (masses - chosen - own) * weights, 0).sum() / 7
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    inputs = (hidden, linear.weight)
    for ours, theirs in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    everything = loss_concept.SampledVocabulary(torch.arange(vocabulary), torch.ones(vocabulary))
    torch.testing.assert_close(
        loss_concept.head_loss(head, hidden, labels, weights, 7, everything),
        loss_concept.head_loss(head, hidden, labels, weights, 7),
    )


@pytest.mark.parametrize(("chunk", "largest"), [(10_000, 16_000), (10**6, 500_000)])
def test_dense_loss_never_holds_all_logits(chunk, largest, monkeypatch):
    """The largest tensor made by a dense loss is a chunk, a table or the states, not [rows, vocabulary], unless that
    is a chunk."""
    monkeypatch.setattr(loss_concept, "CHUNK_ELEMENTS", chunk)
    rows, vocabulary, width = 500, 1000, 16
    hidden, table = torch.randn(rows, width), torch.randn(vocabulary, width)

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, (tuple, list)) else [result]:
                if isinstance(tensor, torch.Tensor):
                    self.elements = max(self.elements, tensor.numel())
            return result

    labels, weights = torch.randint(0, vocabulary, (rows,)), torch.ones(rows)
    with Largest() as made:
        loss_concept.cross_entropy_in_chunks(hidden, table, labels, weights, None, torch.float32, True, True)
    assert made.elements == largest


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_positions_of_weight_zero_cost_and_change_nothing(dtype):
    """Whatever stands there; gradients there are zero. Under autocast the products are of low precision, the loss and
    the gradient of the table are not."""
    hidden, labels = torch.randn(9, 8, requires_grad=True), torch.randint(0, 20, (9,))
    head, weights = torch.nn.Linear(8, 20, bias=False), torch.rand(9) * (torch.arange(9) % 3 > 0)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        loss = loss_concept.head_loss(head, hidden, labels, weights, 4)
        changed = torch.where(weights[:, None] == 0, torch.inf, hidden.detach())
        same = loss_concept.head_loss(head, changed, labels, weights, 4)
    assert loss.dtype == torch.float32 and loss == same
    loss.backward()
    assert head.weight.grad.dtype == torch.float32 and (hidden.grad[weights == 0] == 0).all()
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.02, "rtol": 0.05}
    expected = (F.cross_entropy(head(hidden), labels, reduction="none") * weights).sum() / 4
    torch.testing.assert_close(loss, expected, **tolerance)


def test_second_derivatives_of_the_loss_are_refused():
    hidden, head = torch.randn(3, 8, requires_grad=True), torch.nn.Linear(8, 9, bias=False)
    loss = loss_concept.head_loss(head, hidden, torch.tensor([1, 2, 3]), torch.ones(3), 3)
    (gradient,) = torch.autograd.grad(loss, hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient.sum().backward()


def test_loss_with_a_wrapped_head():
    """A head that is no plain linear layer (LoRA, bias) still trains."""
    hidden, labels = torch.randn(5, 8, requires_grad=True), torch.randint(0, 9, (5,))
    head = torch.nn.Sequential(torch.nn.Linear(8, 9))
    loss = loss_concept.head_loss(head, hidden, labels, torch.ones(5), 5)
    torch.testing.assert_close(loss, F.cross_entropy(head(hidden), labels))
