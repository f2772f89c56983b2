#include "projectors/staging/sync_rules.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/hash/hash.h"
#include "fmt/format.h"
#include "schemas/row_codec.h"
#include "schemas/status.h"

// The buckets that rules make: those of a row, and those of a caller.
namespace sluice::projectors {
namespace {

absl::Status MissingAttribute(const SyncRule& rule, const EntitySchema& schema) {
  return Error(
      absl::StatusCode::kInternal, "internal",
      fmt::format("rule {} compares an attribute that {} does not have", rule.id, schema.name()));
}

// The text of the attribute that a rule compares, nullopt where null.
absl::StatusOr<std::optional<std::string>> ValueOf(const SyncRule& rule, AttributeId id,
                                                   const EntitySchema& schema,
                                                   std::string_view row) {
  const schemas::Attribute* attribute = schema.Find(id);
  if (attribute == nullptr) {
    return MissingAttribute(rule, schema);
  }
  return schemas::AttributeText(*attribute, row);
}

// Values of several parameters in one name: each with its length, so that no two lists are alike.
void AppendValue(std::string_view value, std::string* name) {
  fmt::format_to(std::back_inserter(*name), "{}:", value.size());
  name->append(value);
}

absl::StatusOr<std::optional<BucketName>> FilterBucketOfRow(const SyncRule& rule,
                                                            const EntitySchema& schema,
                                                            std::string_view row) {
  std::string name = rule.id;
  char separator = '=';
  for (const ClaimTerm& term : rule.filter.terms) {
    if (term.attribute == AttributeId()) {
      continue;  // of the caller alone
    }
    ASSIGN_OR_RETURN(const std::optional<std::string> value,
                     ValueOf(rule, term.attribute, schema, row));
    if (!value.has_value()) {
      return std::nullopt;
    }
    if (std::exchange(separator, '\0') == '=') {
      name.push_back('=');
    }
    AppendValue(*value, &name);
  }
  if (rule.filter.condition != nullptr) {
    ASSIGN_OR_RETURN(const bool matches, rule.filter.condition->Matches(row));
    if (!matches) {
      return std::nullopt;
    }
  }
  return MakeBucketName(std::move(name));
}

std::vector<std::string_view> ClaimValues(Claim claim, const CallerClaims& caller) {
  switch (claim) {
    case Claim::kUser:
      return caller.user.empty() ? std::vector<std::string_view>()
                                 : std::vector<std::string_view>{caller.user};
    case Claim::kTeams:
      return {caller.teams.begin(), caller.teams.end()};
    case Claim::kBusinessUnit:
      return caller.business_unit.has_value() ? std::vector<std::string_view>{*caller.business_unit}
                                              : std::vector<std::string_view>();
    case Claim::kRoles:
      return {caller.roles.begin(), caller.roles.end()};
  }
  return {};
}

// The claim's values as the attribute's canonical texts, ascending and unique.
std::vector<std::string> ValuesOfType(Claim claim, const schemas::Attribute& attribute,
                                      const CallerClaims& caller) {
  std::vector<std::string> values;
  for (const std::string_view claimed : ClaimValues(claim, caller)) {
    absl::StatusOr<std::string> text = schemas::CanonicalText(attribute.type, claimed);
    if (text.ok()) {
      values.push_back(*std::move(text));
    }
  }
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

// Every combination of the claims' values; terms that name one attribute take one value together.
class FilterChoices {
 public:
  FilterChoices(const SyncRule& rule, const EntitySchema& schema, const CallerClaims& caller,
                size_t max)
      : rule_(rule), max_(max) {
    for (const ClaimTerm& term : rule.filter.terms) {
      if (term.attribute == AttributeId()) {
        const auto values = ClaimValues(term.claim, caller);
        possible_ = possible_ && std::ranges::find(values, term.constant) != values.end();
      } else {
        const schemas::Attribute* attribute = schema.Find(term.attribute);
        possible_ = possible_ && attribute != nullptr;
        AddTerm(term.attribute, attribute == nullptr
                                    ? std::vector<std::string>()
                                    : ValuesOfType(term.claim, *attribute, caller));
      }
    }
    // Where one claim is absent, combinations of the others would be walked for nothing.
    for (size_t i = 0; i < terms_.size(); ++i) {
      possible_ = possible_ && !values_[first_[i]].empty();
    }
  }

  std::vector<BucketName> Names() {
    if (possible_) {
      Choose(0);
    }
    return std::move(names_);
  }

 private:
  void AddTerm(AttributeId attribute, std::vector<std::string> values) {
    const auto earlier = std::ranges::find(terms_, attribute);
    const auto first = static_cast<size_t>(earlier - terms_.begin());
    if (earlier != terms_.end()) {
      std::vector<std::string> common;
      std::ranges::set_intersection(values_[first], values, std::back_inserter(common));
      values_[first] = std::move(common);
      values.clear();
    }
    terms_.push_back(attribute);
    first_.push_back(first);
    values_.push_back(std::move(values));
  }

  void Choose(size_t term) {
    if (names_.size() > max_) {
      return;
    }
    if (term == terms_.size()) {
      std::string name = rule_.id;
      if (!chosen_.empty()) {
        name.push_back('=');
      }
      for (const std::string_view value : chosen_) {
        AppendValue(value, &name);
      }
      names_.push_back(MakeBucketName(std::move(name)));
      return;
    }
    if (first_[term] != term) {
      chosen_.push_back(chosen_[first_[term]]);
      Choose(term + 1);
      chosen_.pop_back();
      return;
    }
    for (const std::string& value : values_[term]) {
      chosen_.push_back(value);
      Choose(term + 1);
      chosen_.pop_back();
    }
  }

  const SyncRule& rule_;
  const size_t max_;
  bool possible_ = true;
  std::vector<AttributeId> terms_;
  std::vector<size_t> first_;                     // of each term, the first one of its attribute
  std::vector<std::vector<std::string>> values_;  // common to all terms of the attribute, at first_
  std::vector<std::string_view> chosen_;
  std::vector<BucketName> names_;
};

Claim OwnershipClaim(v1::RuleKind kind) {
  return kind == v1::RULE_KIND_USER   ? Claim::kUser
         : kind == v1::RULE_KIND_TEAM ? Claim::kTeams
                                      : Claim::kBusinessUnit;
}

// Rows name the same buckets again and again, and SHA-256 of a name costs more than to look it up.
// A name is compared whole, so that what is remembered of it is its own key.
BucketKey KeyOfName(const std::string& name) {
  struct Known {
    std::string name;
    BucketKey key;
  };
  constexpr size_t kNamesMax = 2'048;  // of a thread; longer names than these are not remembered
  constexpr size_t kNameBytesMax = 128;
  if (name.empty() || name.size() > kNameBytesMax) {
    return BucketKey::OfName(name);
  }
  thread_local std::vector<Known> names(kNamesMax);
  Known& known = names[absl::HashOf(name) % kNamesMax];
  if (known.name != name) {
    known = {name, BucketKey::OfName(name)};
  }
  return known.key;
}

}  // namespace

BucketName MakeBucketName(std::string name) {
  const BucketKey key = KeyOfName(name);
  return {key, std::move(name)};
}

absl::StatusOr<std::optional<BucketName>> BucketOfRow(const SyncRule& rule,
                                                      const EntitySchema& schema,
                                                      std::string_view row) {
  if (rule.kind == v1::RULE_KIND_ALL) {
    return MakeBucketName(rule.id);
  }
  if (rule.kind == v1::RULE_KIND_FILTER) {
    return FilterBucketOfRow(rule, schema, row);
  }
  ASSIGN_OR_RETURN(const std::optional<std::string> value,
                   ValueOf(rule, rule.attribute, schema, row));
  if (!value.has_value()) {
    return std::nullopt;
  }
  std::string name;
  name.reserve(rule.id.size() + 1 + value->size());
  name.append(rule.id).push_back('=');
  name.append(*value);
  return MakeBucketName(std::move(name));
}

std::string ReferencedKey(const EntitySchema& schema, AttributeId id, std::string_view row) {
  constexpr size_t kKeyBytesMax = 512;
  const schemas::Attribute* attribute = schema.Find(id);
  if (attribute == nullptr) {
    return {};
  }
  auto text = schemas::AttributeText(*attribute, row);
  // Rows are checked before they are written.
  if (!text.ok() || !text->has_value() || (*text)->size() > kKeyBytesMax) {
    return {};
  }
  return **std::move(text);
}

std::vector<std::string> ReferencedKeys(const EntitySchema& schema,
                                        std::span<const AttributeId> attributes,
                                        std::string_view row) {
  std::vector<std::string> keys(attributes.size());
  size_t next = 0;
  schemas::RowScanner scanner(row);
  while (next < attributes.size() && scanner.Next()) {
    const schemas::FieldView& field = scanner.field();
    while (next < attributes.size() && attributes[next] < field.id) {
      ++next;
    }
    if (next < attributes.size() && attributes[next] == field.id) {
      keys[next] = ReferencedKey(schema, field.id, field.raw);  // a row of that field alone
    }
  }
  return keys;
}

BucketName DerivedBucket(const SyncRule& rule, BucketKey source) {
  return MakeBucketName(fmt::format("{}={:016x}{:016x}", rule.id, source.high, source.low));
}

std::vector<BucketName> BucketsOfCaller(const SyncRule& rule, const EntitySchema& schema,
                                        const CallerClaims& caller, size_t max) {
  if (rule.kind == v1::RULE_KIND_ALL) {
    return {MakeBucketName(rule.id)};
  }
  if (rule.kind == v1::RULE_KIND_FILTER) {
    return FilterChoices(rule, schema, caller, max).Names();
  }
  std::vector<BucketName> buckets;
  const schemas::Attribute* attribute = schema.Find(rule.attribute);
  if (attribute == nullptr) {
    return buckets;
  }
  for (const std::string& value : ValuesOfType(OwnershipClaim(rule.kind), *attribute, caller)) {
    if (buckets.size() > max) {
      break;
    }
    buckets.push_back(MakeBucketName(fmt::format("{}={}", rule.id, value)));
  }
  return buckets;
}

}  // namespace sluice::projectors
