import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from colorizer import metrics
from colorizer.color import rgb_to_lab


@pytest.fixture(scope="module")
def photos():
    return (
        torch.from_numpy(np.stack([data.astronaut()[:256, :256], data.coffee()[:256, :256]])).permute(0, 3, 1, 2) / 255
    )


def test_colorfulness_by_the_formula(photos):
    r, g, b = (data.astronaut()[:256, :256, i].astype(float) for i in range(3))
    rg, yb = r - g, (r + g) / 2 - b
    expected = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
    assert metrics.colorfulness(photos)[0].item() == pytest.approx(expected, rel=1e-4)
    assert metrics.colorfulness(photos[:, :1].expand(-1, 3, -1, -1)).max() < 1e-3


def test_psnr_equals_scikit_image(photos):
    noisy = (photos + 0.05 * torch.randn_like(photos)).clamp(0, 1)
    expected = peak_signal_noise_ratio(photos[1].numpy(), noisy[1].numpy(), data_range=1)
    assert metrics.psnr(noisy, photos)[1].item() == pytest.approx(expected, abs=1e-3)


def test_ssim(photos):
    """Of bytes, as scikit-image gives it with the settings of Wang et al. 2004; 1 of what is equal, less of gray."""
    truth = photos[1:]
    noisy = (truth + 0.05 * torch.randn_like(truth)).clamp(0, 1).mul(255).round() / 255
    one, other = ((255 * image[0]).round().byte().permute(1, 2, 0).numpy() for image in (noisy, truth))
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    expected = np.mean([structural_similarity(one[..., i], other[..., i], **settings) for i in range(3)])
    assert metrics.ssim(noisy, truth).item() == pytest.approx(expected, abs=1e-6)
    assert metrics.ssim(photos, photos).tolist() == pytest.approx([1, 1])
    gray = photos.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    assert ((metrics.ssim(gray, photos) > 0.3) & (metrics.ssim(gray, photos) < 0.99)).all()


def test_ab_mse():
    truth = torch.zeros(2, 2, 4, 4)
    ab = truth.clone()
    ab[1, 0] = 6
    assert metrics.ab_mse(ab, truth).tolist() == [0, 18]


def test_histogram_distance(photos):
    ab = rgb_to_lab(photos)[:, 1:]
    own = metrics.ab_histogram(ab)
    assert own.sum() == ab[:, 0].numel()
    assert metrics.jensen_shannon_distance(own, own) == 0
    there, elsewhere = torch.zeros(2, own.numel(), dtype=torch.float64)
    there[3], elsewhere[9] = 5, 7
    assert metrics.jensen_shannon_distance(there, elsewhere) == pytest.approx(1)
    gray = metrics.ab_histogram(torch.zeros_like(ab))
    assert 0.3 < metrics.jensen_shannon_distance(own, gray) < 1


def test_area_under_curve(photos):
    ab = rgb_to_lab(photos)[:, 1:]
    assert metrics.area_under_curve(metrics.ab_error_counts(ab, ab)) == pytest.approx(100)
    # All errors 75: within no threshold below 75, within all of the other 76 of 151.
    counts = metrics.ab_error_counts(
        torch.full((1, 2, 4, 4), 0.0), torch.tensor([75.0, 0]).reshape(1, 2, 1, 1).expand(1, 2, 4, 4)
    )
    assert metrics.area_under_curve(counts) == pytest.approx(100 * 76 / 151)


def test_rebalancing_counts_every_color_the_same():
    """Nine gray places are right and one red is 60 off: raw, that is a tenth of the error; rebalanced, half."""
    truth = torch.zeros(1, 2, 1, 10)
    truth[0, 0, 0, 9] = 60
    counts = metrics.ab_error_counts(torch.zeros(1, 2, 1, 10), truth)
    red = 100 * 91 / 151
    assert metrics.area_under_curve(counts) == pytest.approx(0.9 * 100 + 0.1 * red)
    assert metrics.area_under_curve(counts, rebalanced=True) == pytest.approx(0.5 * 100 + 0.5 * red)
