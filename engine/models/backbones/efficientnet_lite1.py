"""EfficientNet-Lite1 with its ImageNet weights: deeper than Lite0; its weights are an optional package.

The publisher trained it on pictures of 240 pixels a side. Here it sees the prepared slices as they are, 224
pixels a side unless a package says otherwise.
"""

from __future__ import annotations

from engine.models.backbones._efficientnet_lite import lite_entry, lite_spec, lite_weights

SPEC = lite_spec(1, trained_px=240)

WEIGHTS = lite_weights(SPEC, "efficientnet-lite1-77cc7160.pth")

BACKBONE = lite_entry(WEIGHTS)
