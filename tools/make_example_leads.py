"""Writes `examples/leads.csv`: the people of the demo, invented from a seed, the same bytes every time.

Only `Random.random` is used: of the generator's methods it is the one whose sequence Python promises to keep. The
numbers are well formed but lie in blocks of zeros (or, in the United States, in the block kept for fiction): nobody
should be reachable under them, and the demo sends through the simulator only.
"""

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

PATH = Path(__file__).resolve().parent.parent / "examples" / "leads.csv"
SEED = 20_260_101
LEADS = 5_000

HEADER = ("name", "phone", "niche", "target_status", "additional_note", "city", "order_no")
NAMES = (
    *("Aisyah", "Siti", "Nurul", "Farah", "Hafiz", "Amir", "Faizal", "Azlan", "Zulkifli", "Rosmah", "Iskandar"),
    *("Mei Ling", "Wei Jie", "Jia Hui", "Kok Wai", "Xin Yi", "Hui Min", "Zhi Hao", "Siew Lan", "Boon Keat"),
    *("Priya", "Kavitha", "Arjun", "Devi", "Ravi", "Lakshmi", "Suresh", "Anjali", "Vikram", "Meena"),
    *("Budi", "Dewi", "Putri", "Agus", "Wulan", "Bayu", "Ratna", "Joko", "Maria Clara", "Jose Rizalino", "Ligaya"),
    *("Somchai", "Malee", "Niran", "Nguyễn An", "Linh", "Thảo", "Minh", "Yuki", "Haruto", "Sakura", "Min-jun"),
    *("Fatima", "Omar", "Layla", "Yusuf", "Noor", "Samira", "Khalid", "Amina", "Chinedu", "Ngozi", "Wanjiru"),
    *("Thandiwe", "Kwame", "Zanele", "Sipho", "Chloé", "Luca", "Sofía", "José", "Zoë", "Jürgen", "Anna", "Pavel"),
    *("Emily", "James", "Grace", "Daniel", "Olivia", "Marcus", "O'Neil", "Renée", "Søren", "Ana Luísa", "João"),
)
NICHES = ("fitness", "beauty", "retail", "food", "travel")
NOTES = (
    *("", "", "", "", "", "asked for prices", "came through a friend", "prefers evenings", "birthday in June"),
    *("wants the catalogue, then a call", 'said "maybe next month"', "bought twice, liked it", "vegetarian"),
    *("new number since March", "speaks Mandarin and English", "met at the fair; follow up", "size M, blue"),
)
HOME_CITIES = ("Kuala Lumpur", "Penang", "Johor Bahru", "Ipoh", "Kota Kinabalu", "Kuching", "Melaka", "Seremban")
HOME_PREFIXES = ("12", "16", "19")
ABROAD = (
    ("+62812000", ("Jakarta", "Bandung", "Surabaya")),
    ("+63917000", ("Manila", "Cebu")),
    ("+6680000", ("Bangkok", "Chiang Mai")),
    ("+9190000", ("Chennai", "Mumbai")),
    ("+2760000", ("Cape Town", "Durban")),
)
"""Country and block; what is missing to the number's length is counted up."""
ABROAD_LENGTH = {"+62812000": 13, "+63917000": 13, "+6680000": 12, "+9190000": 13, "+2760000": 12}
FICTION = "+1202555"

UNREADABLE = {
    4_610: ("Marcus", "ask his sister", "retail"),
    4_702: ("Priya", "", "beauty"),
    4_788: ("Hafiz", "12", "fitness"),
    4_861: ("Yuki", "+999 000 000 000", "travel"),
    4_933: ("Grace", "grace@example.com", "food"),
}
"""Rows whose phone cannot be read, by the number of good rows before them: so that the report has something to show."""


class People:
    """Draws the people one after the other; no number comes twice."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._serial: dict[str, int] = {}

    def pick(self, choices: Sequence[str]) -> str:
        """One of the choices, evenly."""
        return choices[int(self._random.random() * len(choices))]

    def chance(self, share: float) -> bool:
        """True in `share` of the calls."""
        return self._random.random() < share

    def _next(self, block: str) -> int:
        self._serial[block] = self._serial.get(block, -1) + 1
        return self._serial[block]

    def phone_and_city(self) -> tuple[str, str]:
        """Mostly Malaysian, as people there write numbers: in full, or as one dials at home."""
        if self.chance(0.03) and self._serial.get(FICTION, -1) < 99:
            return f"{FICTION}{self._next(FICTION) + 100:04}", "Washington"
        if self.chance(0.15):
            block, cities = ABROAD[int(self._random.random() * len(ABROAD))]
            return f"{block}{self._next(block):0{ABROAD_LENGTH[block] - len(block)}}", self.pick(cities)
        prefix = self.pick(HOME_PREFIXES)
        serial = self._next(prefix)
        digits = f"000{serial:04}"
        written = self._random.random()
        if written < 0.10:
            phone = f"0{prefix}-{digits[:3]} {digits[3:]}"
        elif written < 0.14:
            phone = f"0{prefix}{digits}"
        elif written < 0.18:
            phone = f"+60 {prefix}-{digits[:3]} {digits[3:]}"
        else:
            phone = f"+60{prefix}{digits}"
        return phone, self.pick(HOME_CITIES)

    def niches(self) -> str:
        """One niche, or two separated by a comma."""
        first = self.pick(NICHES)
        second = self.pick(NICHES)
        return f"{first}, {second}" if second != first and self.chance(0.15) else first

    def row(self, number: int) -> tuple[str, ...]:
        """One lead."""
        phone, city = self.phone_and_city()
        customer = self.chance(0.3)
        order = f"A-{10_000 + number}" if customer else ""
        status = "customer" if customer else "prospect"
        return self.pick(NAMES), phone, self.niches(), status, self.pick(NOTES), city, order


def content() -> str:
    """The whole file."""
    people = People(SEED)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEADER)
    for number in range(1, LEADS + 1):
        if number in UNREADABLE:
            name, phone, niche = UNREADABLE[number]
            writer.writerow((name, phone, niche, "prospect", "", "Kuala Lumpur", ""))
        writer.writerow(people.row(number))
    return file.getvalue()


def main() -> int:
    """Write the file anew."""
    PATH.write_bytes(content().encode("utf-8"))
    print(f"{PATH}: {LEADS} leads and {len(UNREADABLE)} rows that cannot be read")
    return 0


if __name__ == "__main__":
    sys.exit(main())
