#include "tests/property/projectors/rules/filter_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sluice::projectors::testing {
namespace {

struct Sample {
  Cell cell;
  std::vector<std::string> plain;   // spellings as a literal
  std::vector<std::string> quoted;  // more of them, beside an attribute of the type
  std::string json;
};

Sample Text(const std::string& text, const std::string& quoted) {
  return {{text, 0, 0, 0}, {quoted}, {}, "\"" + text + "\""};
}
Sample Exact(__int128 hundredths, const std::string& text, std::vector<std::string> spellings) {
  spellings.push_back(text);
  return {{"", hundredths, 0, 0}, spellings, {}, text};
}
Sample Double(double number, const std::string& text, std::vector<std::string> spellings) {
  spellings.push_back(text);
  return {{"", 0, number, 0}, spellings, {}, text};
}
Sample Instant(int64_t seconds, const std::string& utc, const std::string& other) {
  return {{"", 0, 0, seconds}, {utc, other}, {"'" + utc + "'"}, "\"" + utc + "\""};
}
// Of a date its place among the samples, of a time microseconds: all that is compared is the order.
Sample Scalar(int64_t scalar, const std::string& text, std::vector<std::string> spellings) {
  spellings.push_back(text);
  std::vector<std::string> quoted;
  for (const std::string& spelling : spellings) {
    quoted.push_back("'" + spelling + "'");
  }
  return {{"", 0, 0, scalar}, spellings, quoted, "\"" + text + "\""};
}

constexpr __int128 kInt64Max = std::numeric_limits<int64_t>::max();

const std::vector<Sample>& Integers() {
  static const auto* const samples = new std::vector<Sample>{
      Exact(-700, "-7", {"-7.0", "-70e-1"}), Exact(0, "0", {"-0", "0.00"}), Exact(100, "1", {}),
      Exact(500, "5", {"5.00", "0.5e1"}), Exact(214748364700, "2147483647", {})};
  return *samples;
}

const std::vector<Sample>& SamplesOf(Kind kind) {
  static const auto* const samples = new std::map<Kind, std::vector<Sample>>{
      {Kind::kString,
       {Text("", "''"), Text("a", "'a'"), Text("ab", "'ab'"), Text("b", "'b'"),
        Text("it's", "'it''s'"), Text("Zo\xc3\xab", "'Zo\xc3\xab'"), Text("5", "'5'")}},
      {Kind::kExact,
       {Exact(-150, "-1.5", {"-1.50", "-15e-1"}), Exact(100, "1", {"1.0"}),
        Exact(125, "1.25", {"125e-2"}), Exact(500, "5", {}), Exact(50, "0.5", {"5E-1"}),
        Exact(kInt64Max * 100, "9223372036854775807", {}),
        Exact(kInt64Max * 100 + 1, "9223372036854775807.01", {}),
        Exact(-kInt64Max * 100 - 200, "-9223372036854775809", {})}},
      {Kind::kDouble,
       {Double(0, "0", {"0.0"}), Double(0.1, "0.1", {"1e-1"}), Double(1.5, "1.5", {}),
        Double(-2, "-2", {"-2.0"}), Double(1e300, "1e300", {})}},
      {Kind::kBool,
       {{{"", 0, 0, 1}, {"true"}, {}, "true"}, {{"", 0, 0, 0}, {"false"}, {}, "false"}}},
      {Kind::kDatetime,
       {Instant(0, "1970-01-01T00:00:00Z", "1970-01-01T01:00:00+01:00"),
        Instant(-1, "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.000Z"),
        Instant(86400, "1970-01-02T00:00:00Z", "1970-01-01T23:30:00-00:30")}},
      {Kind::kDate,
       {Scalar(0, "0001-01-01", {}), Scalar(1, "1969-12-31", {}), Scalar(2, "1970-01-01", {}),
        Scalar(3, "2026-01-31", {}), Scalar(4, "9999-12-31", {})}},
      {Kind::kTime,
       {Scalar(0, "00:00:00", {"00:00:00.0", "00:00:00.0000009"}),
        Scalar(1, "00:00:00.000001", {"00:00:00.00000100"}),
        Scalar(36'000'500'000, "10:00:00.5", {"10:00:00.500000"}),
        Scalar(86'399'999'999, "23:59:59.999999", {"23:59:59.999999999"})}},
      {Kind::kUuid,
       {{{"1b", 0, 0, 0},
         {"1b4e28ba-2fa1-11d2-883f-0016d3cca427", "1B4E28BA-2fa1-11d2-883f-0016d3cca427"},
         {"'1b4e28ba-2fa1-11d2-883f-0016d3cca427'"},
         "\"1b4e28ba-2fa1-11d2-883f-0016d3cca427\""},
        {{"ab", 0, 0, 0},
         {"abcdef01-2fa1-11d2-883f-0016d3cca427", "ABCDEF01-2FA1-11d2-883f-0016d3cca427"},
         {"'ABCDEF01-2fa1-11d2-883f-0016d3cca427'"},
         "\"abcdef01-2fa1-11d2-883f-0016d3cca427\""}}},
      {Kind::kBytes,
       {Text("", "binary''"), Text("AAE=", "binary'AAE='"), Text("/w==", "binary'/w=='")}}};
  return samples->at(kind);
}

struct Column {
  Kind kind = Kind::kString;
  std::vector<int> attributes;
  std::vector<int> quotable;  // those that take quoted spellings
};

const Column& ColumnOf(Kind kind) {
  static const auto* const columns =
      new std::map<Kind, Column>{{Kind::kString, {Kind::kString, {1, 10}, {}}},
                                 {Kind::kExact, {Kind::kExact, {2, 3, 5, 16}, {5, 16}}},
                                 {Kind::kDouble, {Kind::kDouble, {4, 12}, {}}},
                                 {Kind::kBool, {Kind::kBool, {6, 11}, {}}},
                                 {Kind::kDatetime, {Kind::kDatetime, {7, 13}, {7, 13}}},
                                 {Kind::kDate, {Kind::kDate, {17, 19}, {17, 19}}},
                                 {Kind::kTime, {Kind::kTime, {18, 20}, {18, 20}}},
                                 {Kind::kUuid, {Kind::kUuid, {8, 14}, {8, 14}}},
                                 {Kind::kBytes, {Kind::kBytes, {9, 15}, {}}}};
  return columns->at(kind);
}

bool IsIn(int attribute, const std::vector<int>& attributes) {
  return std::find(attributes.begin(), attributes.end(), attribute) != attributes.end();
}

const Sample& RandomSample(Random& random, Kind kind, int attribute) {
  return attribute == 2 || attribute == 3 || (kind == Kind::kExact && random.OneIn(2))
             ? random.Pick(Integers())
             : random.Pick(SamplesOf(kind));
}

// A literal of `kind` that may stand beside `attribute` (0: beside no attribute).
Side RandomLiteral(Random& random, Kind kind, int attribute) {
  Side side;
  if (random.OneIn(6)) {
    side.spellings = {"null"};
    return side;
  }
  if (kind == Kind::kDouble && random.OneIn(4)) {
    static const std::vector<std::pair<std::string, double>> kSpecials = {
        {"NaN", std::nan("")}, {"INF", HUGE_VAL}, {"-INF", -HUGE_VAL}};
    const auto& special = random.Pick(kSpecials);
    side.spellings = {special.first};
    side.literal = Cell{"", 0, special.second, 0};
    return side;
  }
  const Sample& sample = RandomSample(random, kind, 0);
  side.literal = sample.cell;
  side.spellings = sample.plain;
  if (IsIn(attribute, ColumnOf(kind).quotable)) {
    side.spellings.insert(side.spellings.end(), sample.quoted.begin(), sample.quoted.end());
    if (kind == Kind::kExact) {
      for (const std::string& spelling : sample.plain) {
        side.spellings.push_back("'" + spelling + "'");
      }
    }
  }
  return side;
}

Side RandomAttribute(Random& random, Kind kind) {
  Side side;
  side.attribute = random.Pick(ColumnOf(kind).attributes);
  return side;
}

Kind RandomKind(Random& random) { return static_cast<Kind>(random.Below(kKinds)); }

TreePtr RandomCompare(Random& random, int depth) {
  Tree tree;
  tree.op = Tree::kCompare;
  tree.kind = RandomKind(random);
  const bool ordered = tree.kind == Kind::kString || tree.kind == Kind::kExact ||
                       tree.kind == Kind::kDouble || tree.kind == Kind::kDatetime ||
                       tree.kind == Kind::kDate || tree.kind == Kind::kTime;
  static const std::vector<std::string> kOrdered = {"eq", "ne", "gt", "ge", "lt", "le"};
  tree.word = kOrdered[random.Below(ordered ? 6 : 2)];
  Side left = RandomAttribute(random, tree.kind);
  // A double's literal is one only beside an attribute, so one side always has it.
  Side right = random.OneIn(4) ? RandomAttribute(random, tree.kind)
                               : RandomLiteral(random, tree.kind, left.attribute);
  if (tree.kind == Kind::kBool && depth > 0 && random.OneIn(2)) {
    left = Side{0, {}, std::nullopt, RandomTree(random, depth - 1, false)};
  } else if (tree.kind != Kind::kDouble && random.OneIn(20)) {
    left = RandomLiteral(random, tree.kind, 0);
    right = RandomLiteral(random, tree.kind, 0);
  }
  tree.sides = {left, right};
  if (random.OneIn(2)) {
    std::swap(tree.sides[0], tree.sides[1]);
  }
  return std::make_shared<Tree>(tree);
}

TreePtr RandomIn(Random& random, int depth) {
  Tree tree;
  tree.op = Tree::kIn;
  tree.kind = RandomKind(random);
  tree.sides = {RandomAttribute(random, tree.kind)};
  if (tree.kind == Kind::kBool && depth > 0 && random.OneIn(2)) {
    tree.sides = {Side{0, {}, std::nullopt, RandomTree(random, depth - 1, false)}};
  }
  for (size_t count = 1 + random.Below(4); count > 0; --count) {
    tree.sides.push_back(RandomLiteral(random, tree.kind, tree.sides[0].attribute));
  }
  return std::make_shared<Tree>(tree);
}

TreePtr RandomCall(Random& random) {
  static const std::vector<std::string> kFunctions = {"contains", "startswith", "endswith"};
  Tree tree;
  tree.op = Tree::kCall;
  tree.kind = Kind::kString;
  tree.word = random.Pick(kFunctions);
  for (int i = 0; i < 2; ++i) {
    tree.sides.push_back(random.OneIn(2) ? RandomAttribute(random, Kind::kString)
                                         : RandomLiteral(random, Kind::kString, 0));
  }
  return std::make_shared<Tree>(tree);
}

TreePtr RandomClaim(Random& random) {
  static const std::vector<std::string> kParameters = {"@user", "@teams", "@businessunit",
                                                       "@roles"};
  Tree tree;
  tree.op = Tree::kClaim;
  tree.word = random.Pick(kParameters);
  Side side;
  if (random.OneIn(4)) {
    side.literal = Cell{"a", 0, 0, 0};
    side.spellings = {"'a'"};
  } else {
    static const std::vector<int> kOwners = {1, 2, 10};
    side.attribute = random.Pick(kOwners);
  }
  tree.sides = {side};
  return std::make_shared<Tree>(tree);
}

TreePtr RandomLeaf(Random& random, int depth) {
  Tree tree;
  switch (random.Below(8)) {
    case 0:
      tree.word = std::vector<std::string>{"true", "false", "null"}[random.Below(3)];
      return std::make_shared<Tree>(tree);
    case 1:
      tree.op = Tree::kAttribute;
      tree.sides = {RandomAttribute(random, Kind::kBool)};
      return std::make_shared<Tree>(tree);
    case 2:
    case 3:
      return RandomIn(random, depth);
    case 4:
      return RandomCall(random);
    default:
      return RandomCompare(random, depth);
  }
}

std::string Blank(Random& random) {
  static const std::vector<std::string> kBlanks = {" ", " ", "  ", "\t", "\n "};
  return random.Pick(kBlanks);
}

std::string MaybeBlank(Random& random) { return random.OneIn(4) ? Blank(random) : ""; }

std::string Wrapped(const std::string& text, Random& random) {
  return "(" + MaybeBlank(random) + text + MaybeBlank(random) + ")";
}

// OData 4.01's precedence, from the weakest: or 1, and 2, eq ne 3, gt ge lt le 4, not 5, the
// rest 6.
int LevelOf(const Tree& tree) {
  switch (tree.op) {
    case Tree::kOr:
      return 1;
    case Tree::kAnd:
      return 2;
    case Tree::kCompare:
      return tree.word == "eq" || tree.word == "ne" ? 3 : 4;
    case Tree::kClaim:
      return tree.word == "@user" || tree.word == "@businessunit" ? 3 : 6;
    case Tree::kNot:
      return 5;
    default:
      return 6;
  }
}

std::string RenderAt(const TreePtr& tree, int level, Random& random) {
  const std::string text = Render(tree, random);
  return LevelOf(*tree) < level || random.OneIn(8) ? Wrapped(text, random) : text;
}

std::string RenderSide(const Side& side, int level, Random& random) {
  if (side.tree != nullptr) {
    return RenderAt(side.tree, level, random);
  }
  const std::string text =
      side.attribute != 0 ? "a" + std::to_string(side.attribute) : random.Pick(side.spellings);
  return random.OneIn(12) ? Wrapped(text, random) : text;
}

std::string RenderCompare(const Tree& tree, Random& random) {
  const bool equality = tree.word == "eq" || tree.word == "ne";
  const bool swap = random.OneIn(2);
  std::string word = tree.word;
  if (swap && !equality) {
    word = std::string(word[0] == 'g' ? "l" : "g") + word[1];
  }
  const Side& left = tree.sides[swap ? 1 : 0];
  const Side& right = tree.sides[swap ? 0 : 1];
  const int level = equality ? 3 : 4;
  return RenderSide(left, level, random) + Blank(random) + word + Blank(random) +
         RenderSide(right, level + 1, random);
}

std::string RenderList(const Tree& tree, Random& random) {
  std::vector<TreePtr> children = tree.children;
  for (size_t i = children.size() - 1; i > 0; --i) {
    std::swap(children[i], children[random.Below(i + 1)]);
  }
  const std::string word = tree.op == Tree::kAnd ? "and" : "or";
  std::string text;
  for (const TreePtr& child : children) {
    text += (text.empty() ? "" : Blank(random) + word + Blank(random)) +
            RenderAt(child, LevelOf(tree), random);
  }
  return text;
}

std::string RenderIn(const Tree& tree, Random& random) {
  std::string text =
      RenderSide(tree.sides[0], 6, random) + Blank(random) + "in" + MaybeBlank(random) + "(";
  std::vector<Side> items(tree.sides.begin() + 1, tree.sides.end());
  items.push_back(random.Pick(items));  // a repetition makes no difference
  std::reverse(items.begin(), items.end());
  for (size_t i = 0; i < items.size(); ++i) {
    text += (i == 0 ? "" : ",") + MaybeBlank(random) + random.Pick(items[i].spellings) +
            MaybeBlank(random);
  }
  return text + ")";
}

std::string RenderClaim(const Tree& tree, Random& random) {
  const std::string side = RenderSide(tree.sides[0], 4, random);
  if (tree.word == "@teams" || tree.word == "@roles") {
    return side + Blank(random) + "in" + Blank(random) + tree.word;
  }
  if (random.OneIn(6)) {
    return side + Blank(random) + "in(" + tree.word + ")";
  }
  return random.OneIn(2) ? side + Blank(random) + "eq" + Blank(random) + tree.word
                         : tree.word + Blank(random) + "eq" + Blank(random) + side;
}

// nullopt: null.
std::optional<Cell> CellOf(const Side& side, const Row& row) {
  if (side.tree != nullptr) {
    const auto truth = Evaluate(*side.tree, row, {});
    return truth.has_value() ? std::optional(Cell{"", 0, 0, *truth ? 1 : 0}) : std::nullopt;
  }
  if (side.attribute == 0) {
    return side.literal;
  }
  const auto found = row.find(side.attribute);
  return found == row.end() ? std::nullopt : std::optional(found->second);
}

bool Equal(Kind kind, const std::optional<Cell>& a, const std::optional<Cell>& b) {
  if (!a.has_value() || !b.has_value()) {
    return a.has_value() == b.has_value();
  }
  switch (kind) {
    case Kind::kExact:
      return a->hundredths == b->hundredths;
    case Kind::kDouble:
      return a->number == b->number;
    case Kind::kBool:
    case Kind::kDatetime:
    case Kind::kDate:
    case Kind::kTime:
      return a->scalar == b->scalar;
    default:
      return a->text == b->text;
  }
}

bool Less(Kind kind, const std::optional<Cell>& a, const std::optional<Cell>& b) {
  if (!a.has_value() || !b.has_value()) {
    return false;
  }
  return kind == Kind::kExact    ? a->hundredths < b->hundredths
         : kind == Kind::kDouble ? a->number < b->number
         : kind == Kind::kString ? a->text < b->text
                                 : a->scalar < b->scalar;
}

bool EvaluateCompare(const Tree& tree, const Row& row) {
  const auto a = CellOf(tree.sides[0], row);
  const auto b = CellOf(tree.sides[1], row);
  const bool equal = Equal(tree.kind, a, b);
  if (tree.word == "eq" || tree.word == "ne") {
    return equal == (tree.word == "eq");
  }
  const bool both = a.has_value() && b.has_value();
  return (tree.word[0] == 'g' ? Less(tree.kind, b, a) : Less(tree.kind, a, b)) ||
         (tree.word[1] == 'e' && both && equal);
}

std::optional<bool> EvaluateCall(const Tree& tree, const Row& row) {
  const auto a = CellOf(tree.sides[0], row);
  const auto b = CellOf(tree.sides[1], row);
  if (!a.has_value() || !b.has_value()) {
    return std::nullopt;
  }
  const std::string& whole = a->text;
  const std::string& part = b->text;
  if (tree.word == "contains") {
    return whole.find(part) != std::string::npos;
  }
  if (part.size() > whole.size()) {
    return false;
  }
  return (tree.word == "startswith" ? whole.substr(0, part.size())
                                    : whole.substr(whole.size() - part.size())) == part;
}

}  // namespace

TreePtr RandomTree(Random& random, int depth, bool claims) {
  if (claims && random.OneIn(depth > 0 ? 5 : 2)) {
    return RandomClaim(random);
  }
  if (depth == 0 || random.OneIn(4)) {
    return RandomLeaf(random, depth);
  }
  Tree tree;
  if (random.OneIn(4)) {
    tree.op = Tree::kNot;
    tree.children = {RandomTree(random, depth - 1, false)};
    return std::make_shared<Tree>(tree);
  }
  tree.op = random.OneIn(2) ? Tree::kAnd : Tree::kOr;
  for (size_t count = 2 + random.Below(2); count > 0; --count) {
    tree.children.push_back(RandomTree(random, depth - 1, claims));
  }
  return std::make_shared<Tree>(tree);
}

Row RandomRow(Random& random) {
  Row row;
  for (int kind = 0; kind < kKinds; ++kind) {
    for (const int attribute : ColumnOf(static_cast<Kind>(kind)).attributes) {
      if (!random.OneIn(3)) {
        Cell cell = RandomSample(random, static_cast<Kind>(kind), attribute).cell;
        if (attribute == 1 && cell.text.empty()) {
          cell.text = "a";  // the key is not empty
        }
        row[attribute] = cell;
      }
    }
  }
  return row;
}

std::string JsonOf(const Row& row) {
  std::string json = "{";
  for (const auto& [attribute, cell] : row) {
    for (int kind = 0; kind < kKinds; ++kind) {
      const Kind of = static_cast<Kind>(kind);
      if (!IsIn(attribute, ColumnOf(of).attributes)) {
        continue;
      }
      std::vector<Sample> samples = SamplesOf(of);
      samples.insert(samples.end(), Integers().begin(), Integers().end());
      const auto sample =
          std::find_if(samples.begin(), samples.end(),
                       [&cell = cell, of](const Sample& one) { return Equal(of, one.cell, cell); });
      json += (json.size() > 1 ? ",\"a" : "\"a") + std::to_string(attribute) + "\":" + sample->json;
    }
  }
  return json + "}";
}

Claims RandomClaims(Random& random) {
  static const std::vector<std::string> kValues = {"a", "ab", "b", "5", "1", "-7"};
  Claims claims;
  for (const char* parameter : {"@user", "@businessunit", "@teams", "@roles"}) {
    const bool is_set = parameter[1] == 't' || parameter[1] == 'r';
    for (size_t count = random.Below(is_set ? 4 : 2); count > 0; --count) {
      claims[parameter].insert(random.Pick(kValues));
    }
  }
  return claims;
}

std::string Render(const TreePtr& tree, Random& random) {
  switch (tree->op) {
    case Tree::kConstant:
      return tree->word;
    case Tree::kAttribute:
      return RenderSide(tree->sides[0], 6, random);
    case Tree::kCompare:
      return RenderCompare(*tree, random);
    case Tree::kIn:
      return RenderIn(*tree, random);
    case Tree::kCall:
      return tree->word + "(" + RenderSide(tree->sides[0], 1, random) + "," + MaybeBlank(random) +
             RenderSide(tree->sides[1], 1, random) + ")";
    case Tree::kNot:
      return "not" + Blank(random) + RenderAt(tree->children[0], 5, random);
    case Tree::kClaim:
      return RenderClaim(*tree, random);
    default:
      return RenderList(*tree, random);
  }
}

bool ClaimHolds(std::string_view parameter, int attribute, const std::string& constant,
                const Row& row, const Claims& claims) {
  std::string value = constant;
  if (attribute != 0) {
    const auto found = row.find(attribute);
    if (found == row.end()) {
      return false;
    }
    value = attribute == 2 ? std::to_string(static_cast<int64_t>(found->second.hundredths / 100))
                           : found->second.text;
  }
  const auto values = claims.find(std::string(parameter));
  return values != claims.end() && values->second.contains(value);
}

std::optional<bool> Evaluate(const Tree& tree, const Row& row, const Claims& claims) {
  switch (tree.op) {
    case Tree::kConstant:
      return tree.word == "null" ? std::nullopt : std::optional(tree.word == "true");
    case Tree::kAttribute: {
      const auto cell = CellOf(tree.sides[0], row);
      return cell.has_value() ? std::optional(cell->scalar == 1) : std::nullopt;
    }
    case Tree::kCompare:
      return EvaluateCompare(tree, row);
    case Tree::kIn: {
      const auto value = CellOf(tree.sides[0], row);
      return std::any_of(tree.sides.begin() + 1, tree.sides.end(),
                         [&](const Side& item) { return Equal(tree.kind, value, item.literal); });
    }
    case Tree::kCall:
      return EvaluateCall(tree, row);
    case Tree::kNot: {
      const auto truth = Evaluate(*tree.children[0], row, claims);
      return truth.has_value() ? std::optional(!*truth) : std::nullopt;
    }
    case Tree::kClaim:
      return ClaimHolds(tree.word, tree.sides[0].attribute,
                        tree.sides[0].literal.value_or(Cell()).text, row, claims);
    default:
      break;
  }
  std::optional<bool> result = tree.op == Tree::kAnd;
  for (const TreePtr& child : tree.children) {
    const auto truth = Evaluate(*child, row, claims);
    if (truth.has_value() && *truth == (tree.op == Tree::kOr)) {
      return truth;
    }
    result = truth.has_value() ? result : std::nullopt;
  }
  return result;
}

}  // namespace sluice::projectors::testing
