"""EfficientNet-Lite2 with its ImageNet weights: deeper and wider than Lite0; its weights are an optional package.

The publisher trained it on pictures of 260 pixels a side. Here it sees the prepared slices as they are, 224
pixels a side unless a package says otherwise.
"""

from __future__ import annotations

from engine.models.backbones._efficientnet_lite import lite_entry, lite_spec, lite_weights

SPEC = lite_spec(2, trained_px=260)

WEIGHTS = lite_weights(SPEC, "efficientnet-lite2-9656183e.pth")

BACKBONE = lite_entry(WEIGHTS)
