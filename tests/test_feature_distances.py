import numpy as np
import pytest
import scipy.linalg
from pictures import make_picture
from PIL import Image

from uqdm.metrics import fid, kid, kid_in_blocks, mobilenet_features


def features(n, width, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    mixture = np.random.default_rng(99).normal(size=(width, width))
    return (rng.normal(size=(n, width)) ** 2 @ mixture / width + shift).astype(np.float32)


def fid_by_sqrtm(a, b):
    """The formula as the authors' programme evaluates it."""
    cov_a, cov_b = np.cov(a.astype(np.float64), rowvar=False), np.cov(b.astype(np.float64), rowvar=False)
    difference = a.mean(0, np.float64) - b.mean(0, np.float64)
    return difference @ difference + np.trace(cov_a + cov_b - 2 * scipy.linalg.sqrtm(cov_a @ cov_b).real)


def kid_by_loops(a, b):
    def kernel(x, y):
        return (sum(float(p) * float(q) for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def mean(pairs):
        values = [kernel(x, y) for x, y in pairs]
        return sum(values) / len(values)

    own = [mean((s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j) for s in (a, b)]
    return own[0] + own[1] - 2 * mean((x, y) for x in a for y in b)


def test_fid_is_the_formula_with_a_matrix_square_root():
    a, b = features(60, 12), features(80, 12, seed=1, shift=0.5)
    assert fid(a, b) == pytest.approx(fid_by_sqrtm(a, b), rel=1e-9)


def test_fid_of_gaussians_is_their_wasserstein_distance():
    """Means apart by 3, standard deviations 1 and 2 in each of 4 dimensions: 4 (3^2 + 1)."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (200_000, 4)), rng.normal(3, 2, (200_000, 4))
    assert fid(a, b) == pytest.approx(40, rel=0.01)


def test_fid_is_symmetric_and_zero_for_equal_sets_even_if_they_are_few():
    """5 pictures have a singular covariance, where a general matrix square root fails."""
    a, b = features(5, 40), features(9, 40, seed=1)
    assert fid(a, a) == pytest.approx(0, abs=1e-9)
    assert fid(a, b) == pytest.approx(fid(b, a), rel=1e-12)


def test_fid_of_a_set_and_its_double_is_the_one_of_theory():
    """Means m and 2 m, covariances S and 4 S, here singular: |m|^2 + tr S."""
    a = features(30, 200)
    assert fid(a, 2 * a) == pytest.approx(np.sum(a.mean(0, np.float64) ** 2) + a.var(0, np.float64, ddof=1).sum())


def test_fid_of_few_pictures_is_biased_and_kid_is_not():
    a, b = features(2000, 16), features(2000, 16, seed=1)
    assert fid(a[:50], b[:50]) > 5 * fid(a, b)
    small = kid_in_blocks(a, b, block_size=50, blocks=200, seed=0)
    assert abs(small.mean - kid(a, b)) < 4 * small.std / np.sqrt(200)


def test_kid_is_its_definition_in_loops():
    a, b = features(11, 6), features(13, 6, seed=1, shift=0.3)
    assert kid(a, b) == pytest.approx(kid_by_loops(a, b), rel=1e-9)


def test_kid_of_pairs_leaves_them_out():
    a = features(11, 6)
    b = a + 0.1 * features(11, 6, seed=1)

    def kernel(x, y):
        return (x @ y / 6 + 1) ** 3

    others = [(i, j) for i in range(11) for j in range(11) if i != j]
    parts = [np.mean([kernel(x[i], y[j]) for i, j in others]) for x, y in ((a, a), (b, b), (a, b))]
    assert kid(a, b, paired=True) == pytest.approx(parts[0] + parts[1] - 2 * parts[2], abs=1e-5)
    assert kid(a, a, paired=True) == pytest.approx(0, abs=1e-9)
    assert kid(a, a) < -0.1
    with pytest.raises(ValueError, match="pairs need sets of one size, got 11 and 10 pictures"):
        kid(a, b[:10], paired=True)


def test_kid_does_not_depend_on_how_rows_are_cut(monkeypatch):
    a, b = features(30, 6), features(40, 6, seed=1)
    whole = kid(a, b)
    monkeypatch.setattr("uqdm.metrics.kernel_distance._ROWS", 7)
    assert kid(a, b) == pytest.approx(whole, rel=1e-12)


def test_kid_of_one_distribution_is_zero_in_the_mean_and_of_two_is_not():
    a, b, c = features(2000, 8), features(2000, 8, seed=1), features(2000, 8, seed=2, shift=0.5)
    same, other = (kid_in_blocks(a, s, block_size=100, blocks=100, seed=3) for s in (b, c))
    assert abs(same.mean) < 5 * same.std / 10 < other.mean
    assert same == kid_in_blocks(a, b, block_size=100, blocks=100, seed=3)
    assert same != kid_in_blocks(a, b, block_size=100, blocks=100, seed=4)


def test_sets_that_cannot_be_compared_are_refused():
    a = features(5, 4)
    for distance in (fid, kid):
        with pytest.raises(ValueError, match=r"\(n, d\) and \(m, d\), got \(5, 4\) and \(5, 3\)"):
            distance(a, a[:, :3])
        with pytest.raises(ValueError, match="at least two pictures"):
            distance(a, a[:1])
    with pytest.raises(ValueError, match="blocks of 1000 pictures do not fit into 5: choose a smaller block_size"):
        kid_in_blocks(a, a)


@pytest.fixture(scope="module")
def weights(shared):
    return shared / "weights" / "mobilenet_v2_1.0_224_qat_dequant.npz"


def plain_mobilenet(archive, x):
    """Walks through the graph of the file by its tensors' numbers, with products of patches: feature and logits."""
    tensors = {-1: x}
    for i in range(int(archive["n"])):
        kind, source, target = str(archive[f"{i}.kind"]), int(archive[f"{i}.a"]), int(archive[f"{i}.o"])
        if kind == "add":
            tensors[target] = tensors[source] + tensors[int(archive[f"{i}.b"])]
            continue
        kernel = (archive[f"{i}.w"].astype(np.int64) - int(archive[f"{i}.zp"])) * float(archive[f"{i}.s"])
        bias = archive[f"{i}.b"].astype(np.float64)
        if kind == "head":
            feature = tensors[max(tensors)].mean((0, 1))
            return feature, kernel[..., 0, 0] @ feature + bias
        y, stride = tensors[source], int(archive[f"{i}.stride"])
        side = kernel.shape[-1]
        size = -(-y.shape[0] // stride)
        margin = max((size - 1) * stride + side - y.shape[0], 0)
        y = np.pad(y, [(margin // 2, margin - margin // 2)] * 2 + [(0, 0)])
        patches = np.lib.stride_tricks.sliding_window_view(y, (side, side), (0, 1))[::stride, ::stride]
        if kind == "dw":
            y = np.einsum("hwcij,cij->hwc", patches, kernel[:, 0])
        else:
            y = np.tensordot(patches, kernel, [(2, 3, 4), (1, 2, 3)])
        y = y + bias
        tensors[target] = np.clip(y, 0, 6) if archive[f"{i}.relu6"] else y
    raise AssertionError("no head")


def test_mobilenet_is_the_graph_of_its_file_and_knows_a_macaw(shared, weights):
    photograph = Image.open(shared / "data" / "photos_val" / "kodak_23.png").convert("RGB").resize((224, 224))
    picture = np.asarray(photograph)
    with np.load(weights) as archive:
        feature, logits = plain_mobilenet(archive, picture / 128.0 - 1)
    np.testing.assert_allclose(mobilenet_features(picture[None], weights)[0], feature, rtol=2e-4, atol=2e-4)
    labels = (shared / "weights" / "imagenet_labels.txt").read_text().splitlines()
    assert "macaw" in labels[int(np.argmax(logits))]


def test_mobilenet_takes_pictures_of_any_sizes_in_any_number(weights, monkeypatch):
    monkeypatch.setattr("uqdm.metrics.mobilenet._BATCH", 2)
    pictures = [make_picture(40 + 3 * i, 64, seed=i) for i in range(3)]
    together = mobilenet_features(pictures, weights)
    assert together.shape == (3, 1280)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together[2:], mobilenet_features(pictures[2:], weights), rtol=1e-3, atol=1e-4)


def test_mobilenet_refuses_other_weights(shared, weights):
    with pytest.raises(ValueError, match="no weights of MobileNetV2"):
        mobilenet_features(make_picture(8, 8)[None], shared / "weights" / "lpips_squeeze_v0.1_fp16backbone.npz")
    with pytest.raises(ValueError, match="no pictures"):
        mobilenet_features([], weights)
