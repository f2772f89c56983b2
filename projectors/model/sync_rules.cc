#include "projectors/model/sync_rules.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "fmt/format.h"
#include "schemas/base/status.h"
#include "schemas/row_codec.h"

// The buckets that rules make: those of a row, and those of a caller.
namespace sluice::projectors {
namespace {

const std::string kCutMark = "...#";

absl::Status MissingAttribute(const SyncRule& rule, const EntitySchema& schema) {
  return Error(StatusCode::kInternal, "internal",
               "rule {} compares an attribute that {} does not have", rule.id, schema.name());
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

size_t ValueBytes(std::string_view value) {
  return fmt::formatted_size("{}:", value.size()) + value.size();
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

// Every combination of the claims' values; terms that name one attribute take one value together.
class FilterChoices {
 public:
  FilterChoices(const SyncRule& rule, const EntitySchema& schema, ClaimTexts& claims)
      : rule_(rule) {
    std::vector<ClaimTexts::Set> compared;  // of each attribute, at its first term
    for (const ClaimTerm& term : rule.filter.terms) {
      if (term.attribute == AttributeId()) {
        possible_ = possible_ && claims.Has(term.claim, term.constant);
        continue;
      }
      const auto first = std::ranges::find(terms_, term.attribute) - terms_.begin();
      terms_.push_back(term.attribute);
      compared.push_back(0);
      first_.push_back(static_cast<size_t>(first));
      compared[first_.back()] |= ClaimTexts::Of(term.claim);
    }
    values_.resize(terms_.size());
    for (size_t i = 0; possible_ && i < terms_.size(); ++i) {
      if (first_[i] == i) {
        const schemas::Attribute* attribute = schema.Find(terms_[i]);
        values_[i] = attribute == nullptr ? nullptr : &claims.Common(compared[i], attribute->type);
        // Where one claim is absent, combinations of the others would be walked for nothing.
        possible_ = attribute != nullptr && !values_[i]->empty();
      }
    }
  }

  uint64_t Count() const {
    uint64_t count = possible_ ? 1 : 0;
    for (size_t i = 0; possible_ && i < terms_.size(); ++i) {
      if (first_[i] == i && __builtin_mul_overflow(count, values_[i]->size(), &count)) {
        return UINT64_MAX;
      }
    }
    return count;
  }

  // Of all names, which are `count`: each value of a term is in an equal part of them.
  uint64_t Bytes(uint64_t count) const {
    uint64_t bytes = count * (rule_.id.size() + (terms_.empty() ? 0 : 1));
    for (size_t i = 0; count > 0 && i < terms_.size(); ++i) {
      const std::vector<std::string>& values = *values_[first_[i]];
      for (const std::string& value : values) {
        bytes += count / values.size() * ValueBytes(value);
      }
    }
    return bytes;
  }

  std::vector<BucketName> Names(uint64_t count) {
    names_.reserve(count);
    if (count > 0) {
      Choose(0);
    }
    return std::move(names_);
  }

 private:
  void Choose(size_t term) {
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
    for (const std::string& value : *values_[term]) {
      chosen_.push_back(value);
      Choose(term + 1);
      chosen_.pop_back();
    }
  }

  const SyncRule& rule_;
  bool possible_ = true;
  std::vector<AttributeId> terms_;
  std::vector<size_t> first_;  // of each term, the first one of its attribute
  // Common to all terms of the attribute, at first_.
  std::vector<const std::vector<std::string>*> values_;
  std::vector<std::string_view> chosen_;
  std::vector<BucketName> names_;
};

struct RuleKindRow {
  v1::RuleKind kind;
  std::string_view name;
};
constexpr RuleKindRow kRuleKinds[] = {
    {v1::RULE_KIND_ALL, "all"},       {v1::RULE_KIND_USER, "user"},
    {v1::RULE_KIND_TEAM, "team"},     {v1::RULE_KIND_BUSINESS_UNIT, "business_unit"},
    {v1::RULE_KIND_FILTER, "filter"}, {v1::RULE_KIND_RELATED, "related"}};

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

std::string_view RuleKindName(v1::RuleKind kind) {
  const auto* const row = std::ranges::find(kRuleKinds, kind, &RuleKindRow::kind);
  return row == std::end(kRuleKinds) ? "all" : row->name;
}

std::optional<v1::RuleKind> ParseRuleKind(std::string_view name) {
  const auto* const row = std::ranges::find(kRuleKinds, name, &RuleKindRow::name);
  return row == std::end(kRuleKinds) ? std::nullopt : std::optional(row->kind);
}

AttributeId OwnershipAttribute(v1::RuleKind kind, const v1::Ownership& ownership) {
  return AttributeId(kind == v1::RULE_KIND_USER            ? ownership.user()
                     : kind == v1::RULE_KIND_TEAM          ? ownership.team()
                     : kind == v1::RULE_KIND_BUSINESS_UNIT ? ownership.business_unit()
                                                           : 0);
}

BucketName MakeBucketName(std::string name) {
  const BucketKey key = KeyOfName(name);
  return {key, std::move(name)};
}

std::string KeptName(BucketKey key, std::string name) {
  constexpr size_t kBeginBytes = 256;
  if (name.size() <= kKeptNameBytesMax) {
    return name;
  }
  size_t end = kBeginBytes;
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xc0) == 0x80) {
    --end;  // not within a character
  }
  return fmt::format("{}{}{}", std::string_view(name).substr(0, end), kCutMark, key.ToHex());
}

bool IsKeptName(BucketKey key, std::string_view kept) {
  return BucketKey::OfName(kept) == key || kept.ends_with(kCutMark + key.ToHex());
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
  return MakeBucketName(DerivedName(rule, source));
}

std::string DerivedName(const SyncRule& rule, BucketKey source) {
  return absl::StrCat(rule.id, "=", absl::Hex(source.high, absl::kZeroPad16),
                      absl::Hex(source.low, absl::kZeroPad16));
}

ClaimedBuckets BucketsOfCaller(const SyncRule& rule, const EntitySchema& schema, ClaimTexts& claims,
                               const NamesRoom& room) {
  ClaimedBuckets claimed;
  if (rule.kind == v1::RULE_KIND_FILTER) {
    FilterChoices choices(rule, schema, claims);
    claimed.count = choices.Count();
    claimed.bytes = claimed.count > room.buckets ? 0 : choices.Bytes(claimed.count);
    if (claimed.count <= room.buckets && claimed.bytes <= room.bytes) {
      claimed.names = choices.Names(claimed.count);
    }
    return claimed;
  }
  std::vector<std::string> names;  // no more than the claim has values
  if (rule.kind == v1::RULE_KIND_ALL) {
    names.push_back(rule.id);
  } else if (const auto* attribute = schema.Find(rule.attribute); attribute != nullptr) {
    const ClaimTexts::Set owner = ClaimTexts::Of(OwnershipClaim(rule.kind));
    for (const std::string& value : claims.Common(owner, attribute->type)) {
      names.push_back(fmt::format("{}={}", rule.id, value));
    }
  }
  for (std::string& name : names) {
    claimed.count += 1;
    claimed.bytes += name.size();
    claimed.names.push_back(MakeBucketName(std::move(name)));
  }
  if (claimed.count > room.buckets || claimed.bytes > room.bytes) {
    claimed.names.clear();
  }
  return claimed;
}

}  // namespace sluice::projectors
