"""Small datasets in the forms that their publishers ship."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from geoagent.data.cot import STAGES

PARIS = (48.8566, 2.3522)
LIMA = (-12.0464, -77.0428)
NAIROBI = (-1.2864, 36.8172)


def picture(shade: int = 0, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (shade % 256, 90, 30)).save(buffer, kind)
    return buffer.getvalue()


def put(folder: Path, *names: str) -> None:
    """Images at these paths below the folder."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def write_json(path: Path, rows: Any) -> Path:
    return write(path, json.dumps(rows, ensure_ascii=False, indent=1))


def write_csv(path: Path, columns: str, *rows: Sequence[Any]) -> Path:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns.split(","))
    writer.writerows(rows)
    return write(path, buffer.getvalue())


def write_parquet(path: Path, rows: list[dict[str, Any]], group: int = 2) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return path


def chain(country: str, region: str, place: str) -> str:
    stages = {
        name: {"Clues": ["sign"], "Reasoning": "r" * 99, "Conclusion": said, "Uncertainty": "low"}
        for name, said in zip(STAGES, (country, region, place), strict=True)
    }
    document = {"ChainOfThought": stages, "FinalAnswer": f"{country}; {region}; {place}"}
    return json.dumps(document)


OSV_COLUMNS = (
    "id,latitude,longitude,thumb_original_url,country,sequence,captured_at,lon_bin,lat_bin,cell,"
    "region,sub-region,city,land_cover,road_index,drive_side,climate,soil,dist_sea,"
    "quadtree_10_5000,unique_region,unique_sub-region,unique_city,unique_country,creator_username,"
    "creator_id"
)


def osv_row(number: int, country: str = "NZ", city: str = "Waitangi") -> list[Any]:
    """As in the published table, but for the longest columns."""
    row = [number, -43.804769384023, -176.61409250805, "https://x", country, "s", "1500000000"]
    row += [8, 8, "(0, 8)", "Chatham Islands", "", city, 4, 4.661764145, 1, 15, 3, 0.00688413]
    return [*row, 0, "Chatham Islands_NZ", "", "Waitangi_NaN", "NZ", "roadroid", "1.0"]
