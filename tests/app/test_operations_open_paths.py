"""What a scan found is listed as a whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.operations.open_paths import open_paths, register_series
from engine.errors import StoreError
from engine.store.repository import Store


def test_a_scan_is_listed_whole_or_not_at_all(tmp_path: Path, ge_tilt: Path) -> None:
    (series,) = open_paths([ge_tilt]).series
    other_study = replace(series.study, instance_uid="1.2.3")
    with Store.open(tmp_path / "store.sqlite") as store:
        register_series(store, [series])
        register_series(store, [series])
        assert [row.series_uid for row in store.list_series()] == [series.instance_uid]

        newcomer = replace(series, instance_uid="1.2.4", study=other_study)
        with pytest.raises(StoreError) as caught:
            register_series(store, [newcomer, replace(series, study=other_study)])
        assert caught.value.code == "store.series.other_study"
        assert [row.series_uid for row in store.list_series()] == [series.instance_uid]
