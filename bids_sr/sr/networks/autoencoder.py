"""A convolutional autoencoder of slices: to a small latent image and back.

References
----------
Sander et al. 2020, Unsupervised super-resolution: creating high-resolution medical
images from low-resolution anisotropic examples, doi:10.48550/arXiv.2010.13172 (section 4).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from bids_sr.sr.contract.settings import require

_SLOPE = 0.1  # of the leaky ReLU; the paper does not state it


class Autoencoder(nn.Module):
    """Compress slices by a factor of ``2**depth`` along both axes, and restore them.

    With the defaults the network is the paper's: 3.0 million parameters, a latent image of
    16 channels on a grid 16 times as coarse.  A narrow one learns on a CPU in minutes.
    """

    def __init__(self, *, width: int = 32, depth: int = 4, latent_channels: int = 16) -> None:
        """Make the network.

        Parameters
        ----------
        width : int
            Kernels of the first block; each further block has twice as many.
        depth : int
            Blocks of the encoder, and of the decoder.
        latent_channels : int
            Channels of the latent image.

        Raises
        ------
        ConfigError
            If one of them is less than 1.
        """
        super().__init__()
        require(width >= 1, "width", width, "1 or more")
        require(depth >= 1, "depth", depth, "1 or more")
        require(latent_channels >= 1, "latent_channels", latent_channels, "1 or more")
        self.width, self.depth, self.latent_channels = width, depth, latent_channels
        kernels = [width << number for number in range(depth)]
        widest = kernels[-1]
        self.encoder = nn.Sequential(
            *(
                nn.Sequential(*_block(before, after), nn.AvgPool2d(2))
                for before, after in pairwise([1, *kernels])
            ),
            _convolution(widest, widest),
            nn.LeakyReLU(_SLOPE, inplace=True),
            _convolution(widest, latent_channels),
        )
        self.decoder = nn.Sequential(
            *(
                nn.Sequential(*_block(before, after), nn.Upsample(scale_factor=2, mode="nearest"))
                for before, after in pairwise([latent_channels, *reversed(kernels)])
            ),
            _convolution(width, width),
            nn.LeakyReLU(_SLOPE, inplace=True),
            _convolution(width, 1),
        )

    @property
    def multiple(self) -> int:
        """Rows and columns must be whole multiples of this to be halved `depth` times."""
        return 1 << self.depth

    @property
    def arguments(self) -> dict[str, int]:
        """What makes the same network again."""
        return {
            "width": self.width,
            "depth": self.depth,
            "latent_channels": self.latent_channels,
        }

    def encode(self, slices: Tensor) -> Tensor:
        """Return the latent images of slices.

        Parameters
        ----------
        slices : (N, 1, H, W) tensor
            Of any size; continued by their edges to a multiple of :attr:`multiple`.

        Returns
        -------
        (N, latent_channels, ceil(H / multiple), ceil(W / multiple)) tensor
        """
        rows, columns = (-size % self.multiple for size in slices.shape[-2:])
        latent: Tensor = self.encoder(functional.pad(slices, (0, columns, 0, rows), "replicate"))
        return latent

    def decode(self, latent: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return the slices of latent images.

        Parameters
        ----------
        latent : (N, latent_channels, h, w) tensor
        shape : (H, W)
            Size of the slices; what :meth:`encode` added is cut off.

        Returns
        -------
        (N, 1, H, W) tensor
        """
        decoded: Tensor = self.decoder(latent)
        return decoded[..., : shape[0], : shape[1]]

    def forward(self, slices: Tensor) -> Tensor:
        """Compress and restore: (N, 1, H, W) to the same."""
        height, width = slices.shape[-2:]
        return self.decode(self.encode(slices), (height, width))


def _convolution(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)


def _block(before: int, after: int) -> list[nn.Module]:
    return [
        _convolution(before, after),
        nn.LeakyReLU(_SLOPE, inplace=True),
        _convolution(after, after),
        nn.LeakyReLU(_SLOPE, inplace=True),
        nn.BatchNorm2d(after),
    ]
