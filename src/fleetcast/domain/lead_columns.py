"""The columns of a lead file: which heading means what, and how a row of cells becomes a lead.

Separate from reading files because pasted tables, XLSX and the API's bulk call bring the same columns.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleetcast.domain.formulas import unguarded
from fleetcast.domain.lead import Consent, Lead, parse_consent, parse_niches, parse_status, parse_time_zone
from fleetcast.domain.phone import parse_phone
from fleetcast.errors import InvalidInput

MAX_COLUMNS = 200
MAX_ATTRIBUTES = MAX_COLUMNS - 7
"""Of a workspace, so that an export with the seven columns of every lead can always be imported again."""
MAX_HEADING_CHARS = 100
MAX_CELL_CHARS = 10_000
MAX_NAME_CHARS = 500
MAX_ATTRIBUTE_BYTES = 65_536
"""All attributes of one lead together, keys and values in UTF-8."""


class Column(StrEnum):
    """Columns with a meaning; the values are the headings of an export. Every other column is an attribute."""

    NAME = "name"
    PHONE = "phone"
    NICHE = "niche"
    TARGET_STATUS = "target_status"
    JOURNEY = "journey"
    TIME_ZONE = "time_zone"
    CONSENT = "consent"


REPORT_COLUMNS = ("rejected_line", "rejected_column", "rejected_reason")
"""What a file of rejected rows has in front. An import leaves them out, so that a corrected file can go straight in."""

# Per column: names that leave no doubt; after the bar, names that count only when none of the first is there.
# Letters and digits only, lower case.
_ALIASES = {
    Column.NAME: """
        name fullname customername clientname contactname leadname nama namapenuh namalengkap namapelanggan
        nombre nombrecompleto nome nomecompleto nom nomcomplet naam volledigenaam vollständigername имя фио
        姓名 名字 名前 氏名 お名前 이름 الاسم नाम tên họtên họvàtên ชื่อ isim adsoyad | contact ad kontak
        contacto kontakt
    """,
    Column.PHONE: """
        phone phonenumber phoneno phonenum phones mobile mobilenumber mobileno mobilephone cell cellphone
        cellnumber whatsapp whatsappnumber whatsappno whatsappphone wa wanumber nowa nowhatsapp tel telno
        telnumber telephone telephonenumber telephoneno msisdn contactnumber contactno contactphone phonee164
        telefon telefonnummer telefonnumber handy handynummer mobil mobilnummer rufnummer telefono teléfono
        numerodetelefono númerodeteléfono movil móvil celular telefone numerodetelefone númerodetelefone
        téléphone numérodetéléphone portable cellulare numeroditelefono telefoonnummer telefoon mobiel notel
        notelefon nombortelefon nohp nohandphone handphone telepon notelepon nomortelepon nomorhp nomorwa hp
        gsm ceptelefonu телефон номертелефона мобильный 电话 电话号码 手机 手机号 手机号码 電話 電話番号 携帯
        携帯電話 電話號碼 手機 전화번호 휴대폰 هاتف الهاتف رقمالهاتف جوال الجوال फ़ोन फोन मोबाइल sốđiệnthoại
        điệnthoại sdt sđt เบอร์โทร เบอร์โทรศัพท์ โทรศัพท์ | number num no nr numero número nummer nombor
        nomor номер
    """,
    Column.NICHE: """
        niche niches category categories kategori kategorie categoria categoría catégorie nicho nicchia ниша
        分类 类别 | tag tags segment segments interest interests
    """,
    Column.TARGET_STATUS: """
        targetstatus leadstatus customerstatus | status estado statut stato статус
    """,
    Column.JOURNEY: """
        journey additionalnote additionalnotes notes note perjalanan | remark remarks comment comments
        catatan nota notas notiz notizen bemerkung bemerkungen kommentar observaciones observações remarque
        remarques opmerking opmerkingen заметки примечание 备注 備考
    """,
    Column.TIME_ZONE: """
        timezone tz zonawaktu zeitzone zonahoraria fusohorário fuseauhoraire 时区
    """,
    Column.CONSENT: """
        consent optin optedin subscribed marketingconsent whatsappconsent izin persetujuan keizinan
        consentimiento consentimento consentement einwilligung consenso toestemming согласие 同意
    """,
}
_PLAIN = {column.value: column for column in Column}
_RANKS: dict[str, tuple[Column, int]] = {
    alias: (column, rank)
    for column, tiers in _ALIASES.items()
    for rank, tier in enumerate(tiers.split("|"), start=1)
    for alias in tier.split()
}


def attribute_key(heading: str) -> str:
    """The name of an attribute in texts: `Date of Birth` and `dateOfBirth` both become `date_of_birth`.

    Letters, marks and digits of any script, joined by single underscores; '' when the heading has none. The key of a
    key is the key itself.
    """
    heading = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", unicodedata.normalize("NFKC", heading)).lower()
    heading = unicodedata.normalize("NFKC", heading)
    kept = "".join(c if c <= "\uffff" and unicodedata.category(c)[0] in "LNM" else " " for c in heading)
    key = "_".join(kept.split())
    return f"_{key}" if key[:1] in set("0123456789") else key


def check_key(field: str, at: str) -> None:
    """Raises InvalidInput, which names `at`, for what cannot be an attribute's key."""
    key = attribute_key(field)
    if not key or key != field or len(key) > MAX_HEADING_CHARS:
        like = f", like '{key[:MAX_HEADING_CHARS]}'" if key else ""
        raise InvalidInput(at, f"'{field[:40]}' is not a field; use small letters, digits and underscores{like}")


@dataclass(frozen=True, slots=True)
class Heading:
    """One column of a file."""

    text: str
    """As it stands in the file."""
    column: Column | None
    """None: an attribute, or left out when `key` is empty."""
    key: str = ""
    """The attribute's key."""


@dataclass(frozen=True, slots=True)
class Headings:
    """The columns of a file, in their order."""

    columns: tuple[Heading, ...]

    @property
    def attribute_keys(self) -> tuple[str, ...]:
        """Keys of all attributes of the file."""
        return tuple(c.key for c in self.columns if c.key)

    @property
    def fields(self) -> dict[str, str]:
        """Each heading and what it was taken for; '' for left out."""
        return {c.text: c.column.value if c.column else c.key for c in self.columns}


def _candidates(texts: Sequence[str]) -> dict[Column, list[tuple[int, int]]]:
    found: dict[Column, list[tuple[int, int]]] = {}
    for position, text in enumerate(texts):
        key = attribute_key(text)
        if key in _PLAIN:
            found.setdefault(_PLAIN[key], []).append((0, position))
        elif rank := _RANKS.get(key.replace("_", "")):
            found.setdefault(rank[0], []).append((rank[1], position))
    return found


def recognised(texts: Sequence[str]) -> int:
    """How many headings have a meaning, the phone counting most: which delimiter fits a file is judged by it."""
    found = _candidates(texts)
    return len(found) + (MAX_COLUMNS if Column.PHONE in found else 0)


def _names(texts: Sequence[str], positions: Sequence[int]) -> str:
    return " and ".join(f"'{texts[p]}' (column {p + 1})" for p in positions)


LEFT_OUT = "-"
"""What a mapping says of a column that nobody needs."""


def _assigned(texts: Sequence[str], mapping: Mapping[str, str]) -> dict[int, str]:
    """The field of each column that the mapping names. Headings are found whatever their capitals."""
    fields: dict[int, str] = {}
    for heading, field in mapping.items():
        wanted = " ".join(heading.split())
        places = [p for p, text in enumerate(texts) if text == wanted] or [
            p for p, text in enumerate(texts) if text.casefold() == wanted.casefold()
        ]
        if not places or not wanted:
            found = ", ".join(f"'{t}'" for t in texts[:20]) + (", …" if len(texts) > 20 else "")
            raise InvalidInput("mapping", f"there is no heading '{heading}' (columns found: {found})")
        if len(places) > 1:
            raise InvalidInput("mapping", f"{_names(texts, places)} have the same heading; rename one of them")
        if places[0] in fields:
            raise InvalidInput("mapping", f"the heading '{texts[places[0]]}' is used twice")
        if field != LEFT_OUT:
            check_key(field, "mapping")
            if field in fields.values():
                raise InvalidInput("mapping", f"the field {field} is given two headings")
        fields[places[0]] = field
    return fields


def mapping_from(words: Iterable[str], option: str) -> dict[str, str]:
    """Fields by heading from `field=heading` texts, as people type them. Raises InvalidInput that names `option`."""
    found: dict[str, str] = {}
    for word in words:
        field, sign, heading = word.partition("=")
        field, heading = field.strip(), heading.strip()
        if not (sign and field and heading):
            raise InvalidInput(
                option, f"'{word[:80]}' is not like phone=\"Mobile No\": a field, =, and a heading of the file"
            )
        if heading in found:
            raise InvalidInput(option, f"the heading '{heading}' is used twice")
        found[heading] = field
    return found


def recognise(cells: Sequence[str], mapping: Mapping[str, str] | None = None) -> Headings:
    """What each heading means. A plain name (`phone`) goes before an alias (`mobile`), which then is an attribute.

    `mapping` says for some headings which field they are: a column, an attribute's key, or `LEFT_OUT`; the others are
    recognised as always. Raises InvalidInput: no phone column (names the columns found), two columns for one thing, a
    heading that is missing, too long or without letters, too many columns, a mapping that does not fit. Empty
    headings at the end are left out.
    """
    texts = [" ".join(unguarded(c.strip()).split()) for c in cells]
    while texts and not texts[-1]:
        texts.pop()
    many = len(texts) - sum(text in REPORT_COLUMNS for text in texts)
    if many > MAX_COLUMNS:
        raise InvalidInput("columns", f"the file has {many} columns; at most {MAX_COLUMNS} can be imported")
    given = _assigned(texts, mapping or {})
    taken = {position: _PLAIN[field] for position, field in given.items() if field in _PLAIN}
    open_to_guesses = ["" if position in given else text for position, text in enumerate(texts)]
    for column, candidates in _candidates(open_to_guesses).items():
        if column in taken.values():
            continue
        best = min(rank for rank, _ in candidates)
        positions = [position for rank, position in candidates if rank == best]
        if len(positions) > 1:
            raise InvalidInput(
                "columns", f"{_names(texts, positions)} both look like the {column}; rename or remove one of them"
            )
        taken[positions[0]] = column
    keys: dict[str, int] = {}
    headings = []
    for position, text in enumerate(texts):
        if position in taken:
            headings.append(Heading(text, taken[position]))
            continue
        if given.get(position) == LEFT_OUT:
            headings.append(Heading(text, None))
            continue
        key = given.get(position) or attribute_key(text)
        if not text:
            raise InvalidInput("columns", f"column {position + 1} has no heading; give it one or remove the column")
        if not key:
            raise InvalidInput(
                "columns", f"the heading '{text[:40]}' (column {position + 1}) has no letters; rename it"
            )
        if len(text) > MAX_HEADING_CHARS or len(key) > MAX_HEADING_CHARS:
            raise InvalidInput(
                "columns",
                f"the heading '{text[:40]}…' (column {position + 1}) is longer than {MAX_HEADING_CHARS} characters",
            )
        if key in keys:
            raise InvalidInput(
                "columns", f"{_names(texts, (keys[key], position))} both become the attribute {key}; rename one of them"
            )
        keys[key] = position
        headings.append(Heading(text, None, "" if key in REPORT_COLUMNS else key))
    if Column.PHONE not in taken.values():
        found = ", ".join(f"'{t}'" for t in texts[:20]) + (", …" if len(texts) > 20 else "") if texts else "none"
        raise InvalidInput("columns", f"there is no phone column; call one 'phone' (columns found: {found})")
    return Headings(tuple(headings))


class RowRefused(InvalidInput):
    """A row that cannot become a lead; `field` is the heading of the column at fault, or ''."""


class RowParser:
    """Turns rows of one file into leads. Made once a file; light per row, because files have a million."""

    def __init__(self, headings: Headings, region: str) -> None:
        self._columns = headings.columns
        self._width = len(headings.columns)
        self._region = region

    def parse(self, cells: Sequence[str]) -> Lead | None:
        """The lead in a row, or None when all cells are empty. Raises RowRefused.

        Cells are trimmed, an export's guard against formulas is taken off; missing cells at the end are empty.
        """
        if len(cells) > self._width and any(c.strip() for c in cells[self._width :]):
            raise RowRefused(
                "",
                f"the row has {len(cells)} cells, the headings are {self._width}; put quotes around texts with commas",
            )
        said: dict[Column, str] = {}
        attributes: dict[str, str] = {}
        for heading, cell in zip(self._columns, cells, strict=False):
            if not cell or not (text := cell.strip()):
                continue
            if text[0] == "'":
                text = unguarded(text).strip()
            if "\0" in text:
                raise RowRefused(heading.text, "the cell contains a NUL byte, which no text has; delete it")
            if len(text) > MAX_CELL_CHARS:
                raise RowRefused(
                    heading.text, f"the cell has {len(text):,} characters, at most {MAX_CELL_CHARS:,} are possible"
                )
            if heading.column is not None:
                said[heading.column] = text
            elif heading.key:
                attributes[heading.key] = text
        if not said and not attributes:
            return None
        try:
            return lead_from(said, attributes, self._region)
        except InvalidInput as error:
            title = next((h.text for h in self._columns if h.column == error.field), error.field)
            raise RowRefused(title, error.problem) from None


def lead_from(said: Mapping[Column, str], attributes: dict[str, str], region: str) -> Lead:
    """The lead that trimmed, non-empty texts describe; `region` reads a number without a country code.

    Raises InvalidInput that names the column, or '' for what concerns all attributes together.
    """
    name = said.get(Column.NAME, "")
    if len(name) > MAX_NAME_CHARS:
        raise InvalidInput("name", f"the name has {len(name):,} characters, at most {MAX_NAME_CHARS} are possible")
    if attributes and _too_large(attributes):
        raise InvalidInput("", f"the attributes of the row are larger than {MAX_ATTRIBUTE_BYTES:,} bytes together")
    return Lead(
        phone=parse_phone(said.get(Column.PHONE, ""), region),
        name=name,
        niches=parse_niches(said[Column.NICHE]) if Column.NICHE in said else (),
        target_status=parse_status(said[Column.TARGET_STATUS]) if Column.TARGET_STATUS in said else None,
        journey=said.get(Column.JOURNEY, ""),
        time_zone=parse_time_zone(said[Column.TIME_ZONE]) if Column.TIME_ZONE in said else None,
        consent=parse_consent(said[Column.CONSENT]) if Column.CONSENT in said else Consent.UNKNOWN,
        attributes=attributes,
    )


def _too_large(attributes: dict[str, str]) -> bool:
    # A character has at most 4 bytes: nearly every row is let through without being encoded.
    if sum(map(len, attributes)) + sum(map(len, attributes.values())) <= MAX_ATTRIBUTE_BYTES // 4:
        return False
    return sum(len(k.encode()) + len(v.encode()) for k, v in attributes.items()) > MAX_ATTRIBUTE_BYTES
