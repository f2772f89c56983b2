#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

// A plain model of the filter language: trees, random ones, their text in random dress, and an
// evaluation that shares nothing with the real one.
namespace sluice::projectors::testing {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  size_t Below(size_t bound) { return engine_() % bound; }
  bool OneIn(size_t n) { return Below(n) == 0; }
  template <typename T>
  const T& Pick(const std::vector<T>& from) {
    return from[Below(from.size())];
  }

 private:
  std::mt19937_64 engine_;
};

// What compares with what.
enum class Kind { kString, kExact, kDouble, kBool, kDatetime, kDate, kTime, kUuid, kBytes };
inline constexpr int kKinds = 9;

// A value that is not null.
struct Cell {
  std::string text;         // strings, uuids, bytes: equal texts are equal values
  __int128 hundredths = 0;  // exact numbers
  double number = 0;
  int64_t scalar = 0;  // bools, datetimes, dates, times
};
using Row = std::map<int, Cell>;  // attribute number (a1, a2, ...) -> value; null ones are absent
using Claims = std::map<std::string, std::set<std::string>>;  // "@user" -> its values

struct Tree;
using TreePtr = std::shared_ptr<const Tree>;

struct Side {
  int attribute = 0;                   // 0: none
  std::vector<std::string> spellings;  // of a literal, all of one value
  std::optional<Cell> literal;         // nullopt with spellings: null
  TreePtr tree;                        // an expression as a bool
};

struct Tree {
  enum Op { kConstant, kAttribute, kCompare, kIn, kCall, kNot, kAnd, kOr, kClaim };
  Op op = kConstant;
  Kind kind = Kind::kBool;  // of what is compared
  std::string word;         // "eq", "contains", "@user", "true"
  std::vector<Side> sides;
  std::vector<TreePtr> children;
};

// Random trees over the attributes of FilterSchema(); with `claims`, also of claim terms.
TreePtr RandomTree(Random& random, int depth, bool claims);
Row RandomRow(Random& random);
Claims RandomClaims(Random& random);
// The row as JSON for the encoder.
std::string JsonOf(const Row& row);

// The tree's text, with random blanks, needless parentheses, spellings and orders.
std::string Render(const TreePtr& tree, Random& random);

// nullopt: null.
std::optional<bool> Evaluate(const Tree& tree, const Row& row, const Claims& claims);
// Whether the claim named `parameter` has the value of the attribute, or `constant` where that is
// 0.
bool ClaimHolds(std::string_view parameter, int attribute, const std::string& constant,
                const Row& row, const Claims& claims);

}  // namespace sluice::projectors::testing
