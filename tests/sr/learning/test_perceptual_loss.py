from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bids_sr.exceptions import WeightsError
from bids_sr.sr.learning.loop import Schedule
from bids_sr.sr.learning.perceptual_loss import AdversarialLoss, ContentLoss, read_features
from bids_sr.sr.networks.discriminator import Discriminator
from bids_sr.sr.networks.vgg import VGGFeatures

WIDTHS = (64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512, 512, 512, 512)


def vgg19(*, divisor: int = 1) -> nn.Sequential:
    """Make the layers of torchvision's VGG-19 in their order, random and thinner."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    before = 3
    for number, width in enumerate(WIDTHS):
        if number in (2, 4, 8, 12):
            layers.append(nn.MaxPool2d(2))
        layers += [nn.Conv2d(before, width // divisor, 3, padding=1), nn.ReLU()]
        before = width // divisor
    layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def state_of(layers: nn.Sequential) -> dict[str, Tensor]:
    classifier = {"classifier.0.weight": torch.rand(2, 2)}
    return {f"features.{name}": part for name, part in layers.state_dict().items()} | classifier


def test_features_are_those_of_torchvision_s_layers(tmp_path: Path) -> None:
    layers = vgg19(divisor=8)
    torch.save(state_of(layers), tmp_path / "vgg.pth")
    images = torch.rand(2, 3, 32, 48)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    values = (images - mean[:, None, None]) / deviation[:, None, None]
    expected = []
    with torch.inference_mode():
        for number, layer in enumerate(layers):
            values = layer(values)
            if number in (2, 7, 16, 25, 34):  # conv1_2, conv2_2, conv3_4, conv4_4, conv5_4
                expected.append(values)
        computed = read_features(tmp_path / "vgg.pth")(images)
    torch.testing.assert_close(computed, expected, rtol=1e-5, atol=1e-6)


def test_full_size_is_accepted() -> None:
    with torch.device("meta"):
        layers = vgg19()
    state = {name: torch.empty(1).expand(part.shape) for name, part in state_of(layers).items()}
    features = VGGFeatures(state)
    assert sum(part.numel() for part in features.parameters()) == 20_024_384
    assert not any(part.requires_grad for part in features.parameters())


@pytest.mark.parametrize("content", [{"weight": torch.rand(2)}, {"features.0.weight": "x"}])
def test_other_files_are_refused(tmp_path: Path, content: dict[str, object]) -> None:
    torch.save(content, tmp_path / "vgg.pth")
    with pytest.raises(WeightsError):
        read_features(tmp_path / "vgg.pth")


def test_content_is_pixels_and_weighted_features() -> None:
    features = VGGFeatures(state_of(vgg19(divisor=16)))
    predicted, target = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    pixels = (predicted - target).abs().mean()
    seen = zip((0.1, 0.1, 1, 1, 1), features(predicted), features(target), strict=True)
    perceptual = sum(weight * (a - b).abs().mean() for weight, a, b in seen)
    torch.testing.assert_close(ContentLoss(features)(predicted, target), pixels + perceptual)
    torch.testing.assert_close(
        ContentLoss(features, weight=0.5)(predicted, target), pixels + 0.5 * perceptual
    )
    torch.testing.assert_close(ContentLoss(None)(predicted, target), pixels)
    assert float(ContentLoss(features)(predicted, predicted)) == 0
    predicted.requires_grad_(True)
    ContentLoss(features)(predicted, target).backward()
    assert predicted.grad is not None


def adversarial() -> AdversarialLoss:
    torch.manual_seed(0)
    schedule = Schedule(steps=100, learning_rate=1e-3, decay="restarts", first_cycle=100)
    return AdversarialLoss(ContentLoss(None), Discriminator(channels=4), schedule, weight=0.05)


def test_discriminator_learns_to_tell_them_apart() -> None:
    loss = adversarial()
    real = torch.rand(4, 3, 16, 16)
    generated = real.mean(dim=(2, 3), keepdim=True).expand_as(real)
    values = []
    for _ in range(60):
        values.append(float(loss(generated, real).detach()))
    with torch.inference_mode():
        margin = loss.discriminator(real).mean() - loss.discriminator(generated).mean()
    assert margin > 1
    assert values[-1] > values[0]  # the better it tells them, the worse the image


def test_gradients_reach_the_image_and_not_the_discriminator() -> None:
    loss = adversarial()
    generated = torch.rand(1, 3, 8, 8, requires_grad=True)
    value = loss(generated, torch.rand(1, 3, 8, 8))
    before = [part.grad.clone() for part in loss.discriminator.parameters()]
    (gradient,) = torch.autograd.grad(value, [generated])
    assert gradient.abs().sum() > 0
    after = [part.grad for part in loss.discriminator.parameters()]
    torch.testing.assert_close(before, after, rtol=0, atol=0)


def test_adversarial_state_goes_on() -> None:
    images = [torch.rand(2, 3, 8, 8) for _ in range(6)]
    whole, first, second = adversarial(), adversarial(), adversarial()
    values = [float(whole(image, image.flip(2)).detach()) for image in images]
    for image in images[:3]:
        first(image, image.flip(2))
    second.load_state_dict(first.state_dict())
    again = [float(second(image, image.flip(2)).detach()) for image in images[3:]]
    assert again == pytest.approx(values[3:], abs=1e-7)
