"""Made-up lead files, the same for the same seed: CSV, and a workbook as spreadsheets save it."""

import csv
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

HEADINGS = ("name", "phone", "niche", "status", "city", "order no")
_FIRST = ("Aminah", "Ben", "Chandra", "Daniel", "Élodie", "Farid", "Grace", "Hui Min")
_LAST = ("Lim", "Tan", "Abdullah", "Müller", "Santos", "Nguyen")
_NICHES = ("fitness", "retail", "food", "beauty")
_STATUSES = ("prospect", "customer")
_CITIES = ("Ipoh", "Melaka", "Penang", "Johor Bahru")
_PHONE = 60_120_000_000
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"

Person = tuple[str, int, str, str, str, int]


def people(many: int, seed: int) -> Iterator[Person]:
    """Rows under `HEADINGS`; no two have the same name or phone."""
    chance = random.Random(seed)
    for n in range(many):
        yield (
            f"{chance.choice(_FIRST)} {chance.choice(_LAST)} {n}",
            _PHONE + n,
            chance.choice(_NICHES),
            chance.choice(_STATUSES),
            chance.choice(_CITIES),
            chance.randrange(1_000_000),
        )


def write_csv(path: Path, many: int, seed: int) -> None:
    """UTF-8 with commas."""
    with path.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(HEADINGS)
        table.writerows((name, f"+{phone}", *rest) for name, phone, *rest in people(many, seed))


def write_workbook(path: Path, many: int, seed: int) -> None:
    """Texts shared, phones as numbers, each cell with its place."""
    early = [*HEADINGS, *_NICHES, *_STATUSES, *_CITIES]
    number = {text: n for n, text in enumerate(early)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("_rels/.rels", _relations(("officeDocument", "xl/workbook.xml")))
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_DOCUMENT}"><sheets><sheet name="Leads" sheetId="1" r:id="r1"/>'
            "</sheets></workbook>",
        )
        parts = (("worksheet", "worksheets/sheet1.xml"), ("sharedStrings", "sharedStrings.xml"))
        archive.writestr("xl/_rels/workbook.xml.rels", _relations(*parts))
        with archive.open("xl/sharedStrings.xml", "w", force_zip64=True) as out:
            out.write(f'<sst xmlns="{_MAIN}">'.encode())
            out.write("".join(f"<si><t>{text}</t></si>" for text in early).encode())
            for person in people(many, seed):
                out.write(f"<si><t>{person[0]}</t></si>".encode())
            out.write(b"</sst>")
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as out:
            out.write(f'<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
            headings = "".join(f'<c r="{c}1" t="s"><v>{n}</v></c>' for n, c in enumerate("ABCDEF"))
            out.write(f'<row r="1" spans="1:6">{headings}</row>'.encode())
            for n, (_, phone, niche, status, city, order) in enumerate(people(many, seed)):
                r = n + 2
                out.write(
                    f'<row r="{r}" spans="1:6"><c r="A{r}" t="s"><v>{n + len(early)}</v></c><c r="B{r}"><v>{phone}</v>'
                    f'</c><c r="C{r}" t="s"><v>{number[niche]}</v></c><c r="D{r}" t="s"><v>{number[status]}</v></c>'
                    f'<c r="E{r}" t="s"><v>{number[city]}</v></c><c r="F{r}"><v>{order}</v></c></row>'.encode()
                )
            out.write(b"</sheetData></worksheet>")


def _relations(*targets: tuple[str, str]) -> str:
    inside = "".join(
        f'<Relationship Id="r{n}" Type="{_DOCUMENT}/{kind}" Target="{target}"/>'
        for n, (kind, target) in enumerate(targets, start=1)
    )
    return f'<Relationships xmlns="{_PACKAGE}">{inside}</Relationships>'
