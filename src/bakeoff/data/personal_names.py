"""Person names by what stands beside them: a title or a form field. A bare name in running text is not looked for.

Chinese: one of the common surnames and one or two more characters, with 先生/女士/… after or 姓名：/联系人：/我叫 before.
English: a title (Mr, Mrs, Dr …) or a form field (Name:, Contact:) before capitalised words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_COMPOUND = "欧阳|上官|司马|诸葛|东方|皇甫|尉迟|公孙|慕容|司徒|令狐|夏侯|端木|百里|南宫|独孤"
_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹"
    "孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤温康施文牛樊葛邢安齐易乔伍庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁尚符舒"
    "阮柯纪梅童凌毕单季裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤阳穆农司卓古吉缪简车项连芦麦褚娄窦戚岑景党宫费卜冷晏席卫"
)
_TITLES = "先生|女士|小姐|太太|老师|教授|医生|大夫|经理|主任|律师|师傅|同学|主管|总监|博士|校长|院长|警官"
_HAN = r"[\u4e00-\u9fff]"
_NAME = rf"(?:(?:{_COMPOUND}){_HAN}{{1,2}}|[{_SURNAMES}]{_HAN}{{1,2}})"
_FIELD = (
    r"(?:姓\s?名|联系人|收件人|收货人|申请人|户\s?名|持卡人|客户姓名|患者姓名|法定代表人|经办人)[是为]?\s?[：:]\s?|"
    r"(?:我的名字叫|我的名字是|我姓名是|本人姓名是|我叫|联系人是|收件人是|收货人是)"
)

CHINESE_NAME = re.compile(
    rf"(?:{_FIELD})(?P<v>{_NAME})(?!{_HAN}{{3}})|(?P<w>(?:{_COMPOUND}){_HAN}{{1,2}}|(?:(?!谢)[{_SURNAMES}]|(?<![感谢多])谢){_HAN}{{2}})(?={_TITLES})"
)
"""Group v: after a form field; group w: before a title (surname alone with a title, 王先生, is not a name)."""

_FIRST_NAMES = (
    "james|robert|john|michael|david|william|richard|joseph|thomas|christopher|charles|daniel|matthew|anthony|mark|steven|paul|andrew|joshua|kenneth|"
    "kevin|brian|george|timothy|ronald|edward|jason|jeffrey|ryan|jacob|gary|nicholas|eric|jonathan|stephen|larry|justin|scott|brandon|benjamin|samuel|"
    "mary|patricia|jennifer|linda|elizabeth|barbara|susan|jessica|sarah|karen|lisa|nancy|betty|sandra|margaret|ashley|kimberly|emily|donna|michelle|"
    "carol|amanda|melissa|deborah|stephanie|rebecca|sharon|laura|cynthia|kathleen|amy|angela|anna|emma|olivia|sophia|helen|alice|peter|henry|frank|"
    "wei|ming|jing|li|hui|yan|lei|juan|carlos|jose|maria|ahmed|mohammed|fatima|ivan|olga|anita|raj|priya"
)
_WORD = r"[A-Z][a-z]+(?:-[A-Z][a-z]+)?"
ENGLISH_NAME = re.compile(
    rf"\b(?:Mr|Mrs|Ms|Dr|Prof|Sir)\.?\s+(?P<v>{_WORD}(?:\s+(?:[A-Z]\.\s+)?{_WORD})?)"
    rf"|\b(?:[Nn]ame|[Cc]ontact|[Aa]ttn|[Cc]ustomer|[Pp]atient)\s?:\s*(?P<w>{_WORD}\s+(?:[A-Z]\.\s+)?{_WORD})"
    rf"|\b(?:my name is|I am called|[Ss]incerely,|[Rr]egards,)\s+(?P<x>(?i:{_FIRST_NAMES})\s+{_WORD})\b"
)
_NOT_CHINESE = frozenset("是的了在有和不没很都也就还我你他她它们这那个些么什吗呢吧啊")
_NOT_NAMES = (
    "谢谢", "马上", "时间", "管家", "成书", "向前", "关于", "高级", "高兴", "白天", "方面", "方便", "温馨", "平时", "成为", "安全", "安排", "全部",
    "周边", "周围", "金牌", "常常", "单位", "项目", "和蔼", "和气", "向来", "包括", "解释", "解决", "幸好", "曾经", "任何", "应该", "连同", "万一",
    "经过", "路上", "车上", "游客", "许多", "明白", "何况", "唐僧", "相关", "接待", "诸位",
    "老师", "经理", "先生", "女士", "小姐", "同学", "客房", "大堂", "前台", "服务", "销售", "部门", "副总", "主任", "店长", "班长",
)  # fmt: skip
_NOT_SECOND = frozenset("一二三四五六七八九十几两多各位名某全以所可能")
_NOT_ENGLISH = frozenset(
    {"Darcy", "Potter", "Bean", "President", "Speaker", "Chairman", "Right", "Wrong", "Big", "Blobby"}
)


def plausible_chinese(name: str) -> bool:
    """Whether a surname with one or two characters reads as a name, not as the end of a phrase (于经理 …, 时老师)."""
    rest = name[1:]
    if any(character in _NOT_CHINESE for character in name) or rest[0] in _NOT_SECOND:
        return False
    return not any(word in name for word in _NOT_NAMES)


def plausible_english(name: str) -> bool:
    """Whether capitalised words after a title read as a person rather than as a role or a well-known character."""
    return not any(word in _NOT_ENGLISH for word in name.split())


_NAME_COLUMN = re.compile(
    r"^(name|(full|first|last|given|family|user|customer|client|patient|contact|person|employee|owner)[_ -]?name)$"
    r"|姓名|名字|联系人|收件人|收货人|户名|持卡人|经办人|法定代表人",
    re.IGNORECASE,
)
_BARE_CHINESE = re.compile(rf"^(?:(?:{_COMPOUND}){_HAN}{{1,2}}|[{_SURNAMES}谢时]{_HAN}{{1,2}})$")
_BARE_ENGLISH = re.compile(rf"^{_WORD}(?:\s+(?:[A-Z]\.?|{_WORD})){{0,3}}$")


def is_name_column(name: str, cells: Sequence[str | None]) -> bool:
    """Whether a column holds people's names: it is called so, and most of (a sample of) its cells look it."""
    filled = [cell for cell in cells if cell is not None][:500]
    if not filled or not _NAME_COLUMN.search(name):
        return False
    looking = sum(1 for cell in filled if _BARE_CHINESE.match(cell) or _BARE_ENGLISH.match(cell))
    return looking >= len(filled) / 2
