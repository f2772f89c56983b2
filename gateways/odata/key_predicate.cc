#include "gateways/odata/key_predicate.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "gateways/percent.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/row_codec.h"

namespace sluice::gateways {
namespace {

constexpr size_t kIdBytesMax = size_t{16} << 10;

absl::Status Invalid(std::string_view id, std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_key",
               fmt::format("the id {} {}", QuoteForError(id), why));
}

// Where `text` first, or last, has `c` outside of quotes; npos where it has none. A quote within
// quotes is written twice, which ends and begins them. `encoded`: "%27" is a quote, too.
enum class Which { kFirst, kLast };
size_t FindUnquoted(std::string_view text, char c, Which which = Which::kFirst,
                    bool encoded = false) {
  size_t found = std::string_view::npos;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == c && !quoted) {
      found = i;
      if (which == Which::kFirst) {
        break;
      }
    }
    quoted = quoted != (text[i] == '\'' || (encoded && text.substr(i, 3) == "%27"));
  }
  return found;
}

struct Predicate {
  std::string inner;  // between the parentheses, or the bare value
  bool is_bare = false;
};

// The key predicate at the end of `id`, decoded. First the URL is split, then its last segment is
// decoded: an encoded '/' or '?' is one of the value's.
Predicate PredicateOf(std::string_view id) {
  id = id.substr(0, FindUnquoted(id, '?', Which::kFirst, true));
  const size_t slash = FindUnquoted(id, '/', Which::kLast, true);
  const std::string_view last = id.substr(slash == std::string_view::npos ? 0 : slash + 1);
  std::string segment = PercentDecodeLoosely(last);
  if (last.ends_with(')')) {
    // The last that is opened outside of quotes: what stands before it may have some, too.
    const size_t open = FindUnquoted(segment, '(', Which::kLast);
    if (open != std::string_view::npos) {
      return {segment.substr(open + 1, segment.size() - open - 2), false};
    }
  }
  return {std::move(segment), true};
}

// The text within the quotes of a literal: 'a''b', or with the prefix of its type, binary'AQ',
// duration'PT1S', shop.Color'Red'. nullopt where it has none, or something else behind them.
std::optional<std::string> Unquoted(std::string_view literal) {
  const size_t quote = literal.find('\'');
  if (quote == std::string_view::npos || literal.size() < quote + 2 || literal.back() != '\'') {
    return std::nullopt;
  }
  const std::string_view inner = literal.substr(quote + 1, literal.size() - quote - 2);
  std::string text;
  for (size_t i = 0; i < inner.size(); ++i) {
    if (inner[i] == '\'' && (i + 1 == inner.size() || inner[++i] != '\'')) {
      return std::nullopt;
    }
    text.push_back(inner[i]);
  }
  return text;
}

// The canonical text of a part's literal.
absl::StatusOr<std::string> PartText(const MappedColumn& column, std::string_view literal,
                                     bool is_bare) {
  std::string text(literal);
  if (!is_bare) {
    const auto unquoted = Unquoted(literal);
    if (column.type == EdmType::kString && (!unquoted.has_value() || literal.front() != '\'')) {
      return TypeMismatch("is a string without its quotes");
    }
    text = unquoted.value_or(text);
  }
  ASSIGN_OR_RETURN(const std::string field_text,
                   FieldTextOf(column.type, column.members.get(), text));
  return schemas::CanonicalText(AttributeTypeOf(column.type), field_text);
}

}  // namespace

std::string KeyOf(const MappedEntity& entity, const std::vector<std::string>& parts) {
  if (!entity.key_is_composed) {
    return parts.at(0);
  }
  std::string key;
  for (size_t i = 0; i < parts.size(); ++i) {
    key.append(i == 0 ? 0 : 1, ',');
    for (const char c : parts[i]) {
      if (c == '~' || c == ',') {
        key.append(c == '~' ? "~0" : "~1");
      } else {
        key.push_back(c);
      }
    }
  }
  return key;
}

absl::StatusOr<std::string> KeyFromId(const MappedEntity& entity, std::string_view id) {
  if (id.size() > kIdBytesMax) {
    return Invalid(id, fmt::format("is longer than {} bytes", kIdBytesMax));
  }
  const Predicate predicate = PredicateOf(id);
  if (predicate.is_bare && entity.key.size() > 1) {
    return Invalid(id, "has no key predicate");
  }
  std::vector<std::optional<std::string>> parts(entity.key.size());
  std::string_view rest = predicate.inner;
  for (size_t count = 0; count < entity.key.size(); ++count) {
    const size_t comma = predicate.is_bare ? std::string_view::npos : FindUnquoted(rest, ',');
    std::string_view literal = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    size_t index = 0;
    const size_t equals = predicate.is_bare ? std::string_view::npos : FindUnquoted(literal, '=');
    if (equals != std::string_view::npos) {
      const auto found =
          std::ranges::find(entity.key, literal.substr(0, equals), &MappedKeyPart::name);
      if (found == entity.key.end()) {
        return Invalid(id, "names a property that is none of the key's");
      }
      index = static_cast<size_t>(found - entity.key.begin());
      literal = literal.substr(equals + 1);
    } else if (entity.key.size() > 1) {
      return Invalid(id, "has a part of the key without its name");
    }
    const MappedColumn& column = entity.columns[entity.key[index].column];
    auto text = PartText(column, literal, predicate.is_bare);
    if (!text.ok()) {
      return Invalid(id, fmt::format("has a key of which {}", Message(text.status())));
    }
    parts[index] = *std::move(text);
  }
  std::vector<std::string> texts;
  for (const auto& part : parts) {
    if (!part.has_value()) {
      return Invalid(id, "has not all parts of the key");
    }
    texts.push_back(*part);
  }
  if (!rest.empty()) {
    return Invalid(id, "has more parts than the key");
  }
  std::string key = KeyOf(entity, texts);
  RETURN_IF_ERROR(schemas::ValidateKey(key));
  return key;
}

}  // namespace sluice::gateways
