#include "projectors/rules/filter_lexer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "schemas/base/ascii.h"
#include "schemas/base/date.h"
#include "schemas/base/datetime.h"
#include "schemas/base/decimal.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"
#include "schemas/base/time_of_day.h"
#include "schemas/field_value.h"

namespace sluice::projectors {
namespace {

using TokenKind = FilterToken::Kind;

constexpr bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
constexpr bool IsWordStart(char c) { return IsLetter(c) || c == '_'; }
constexpr bool IsWord(char c) { return IsWordStart(c) || IsDigit(c); }
// What may follow the first digit or sign of a number, a datetime, date or time, or a uuid.
constexpr bool IsNumeric(char c) {
  return IsWord(c) || c == '.' || c == ':' || c == '+' || c == '-';
}

// Characters by their class: filters come by the megabyte, and the partition waits for them.
enum Class : uint8_t { kBlank = 1, kWordPart = 2, kNumericPart = 4 };
constexpr std::array<uint8_t, 256> kClasses = [] {
  std::array<uint8_t, 256> classes{};
  for (size_t i = 0; i < classes.size(); ++i) {
    const char c = static_cast<char>(i);
    classes[i] = static_cast<uint8_t>((IsBlank(c) ? kBlank : 0) | (IsWord(c) ? kWordPart : 0) |
                                      (IsNumeric(c) ? kNumericPart : 0));
  }
  return classes;
}();

std::string_view Run(std::string_view text, Class of) {
  size_t size = 0;
  while (size < text.size() && (kClasses[static_cast<uint8_t>(text[size])] & of) != 0) {
    ++size;
  }
  return text.substr(0, size);
}

}  // namespace

absl::Status FilterErrorOf(std::string_view code, std::string_view text, size_t offset,
                           std::string_view reason) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  // Every byte that continues no character begins one.
  const auto column =
      static_cast<uint32_t>(1 + std::count_if(before.begin(), before.end(), [](char c) {
                              return (static_cast<uint8_t>(c) & 0xc0) != 0x80;
                            }));
  return WithColumn(Invalid(code, "at column {}: {}", column, reason), column);
}

FilterToken FilterLexer::Take(TokenKind kind, size_t size) {
  FilterToken token;
  token.kind = kind;
  token.offset = at_;
  token.text = text_.substr(at_, size);
  at_ += token.text.size();
  return token;
}

absl::StatusOr<FilterToken> FilterLexer::Next() {
  at_ += Run(text_.substr(at_), kBlank).size();
  if (at_ == text_.size()) {
    return Take(TokenKind::kEnd, 0);
  }
  const char c = text_[at_];
  switch (c) {
    case '(':
      return Take(TokenKind::kOpen, 1);
    case ')':
      return Take(TokenKind::kClose, 1);
    case ',':
      return Take(TokenKind::kComma, 1);
    case '\'':
      return Quoted();
    case '@':
      return Take(TokenKind::kParameter, 1 + Run(text_.substr(at_ + 1), kWordPart).size());
    default:
      break;
  }
  if (IsWord(c) && IsUuid()) {
    FilterToken token = Take(TokenKind::kUuid, kUuidTextSize);
    token.value = *DecodeUuid(token.text);
    return token;
  }
  if (IsDigit(c) || c == '-' || c == '+' || c == '.') {
    return Numeric();
  }
  if (IsWordStart(c)) {
    return Word();
  }
  const std::string_view rest = text_.substr(at_);
  return FilterError(text_, at_, "{} begins nothing that a filter knows",
                     QuoteForError(rest.substr(0, Utf8SequenceSize(rest))));
}

bool FilterLexer::IsUuid() const {
  constexpr size_t kFirstGroup = 8;
  if (text_.size() - at_ < kUuidTextSize || text_[at_ + kFirstGroup] != '-') {
    return false;  // as nearly every word is none
  }
  const std::string_view word = Run(text_.substr(at_), kNumericPart);
  return word.size() == kUuidTextSize && DecodeUuid(word).has_value();
}

absl::StatusOr<FilterToken> FilterLexer::Word() {
  const std::string_view word = Run(text_.substr(at_), kWordPart);
  if (!text_.substr(at_ + word.size()).starts_with('\'')) {
    return Take(TokenKind::kWord, word.size());
  }
  if (word != "binary") {
    return FilterError(text_, at_, "{}'...' is no literal; only binary'...' has a prefix", word);
  }
  return Binary();
}

absl::StatusOr<FilterToken> FilterLexer::Numeric() {
  const std::string_view word = Run(text_.substr(at_), kNumericPart);
  if (word == "-INF" || IsJsonNumber(word)) {
    return Take(TokenKind::kNumber, word.size());
  }
  // "2026-..." and "10:..." were meant as what begins so, and its own reason says what is wrong.
  const bool dated = word.size() > 5 && word[4] == '-' && IsDigit(word[3]) && IsDigit(word[5]);
  const bool timed = word.size() > 3 && word[2] == ':' && IsDigit(word[1]) && IsDigit(word[3]);
  if (!dated && !timed) {
    return FilterError(text_, at_,
                       "{} is no number (12, -1.5, 1e3), datetime (2026-01-31T10:00:00Z), date "
                       "(2026-01-31), time (10:00:00) or uuid",
                       QuoteForError(word));
  }
  const TokenKind kind = timed                         ? TokenKind::kTime
                         : word.size() > kDateTextSize ? TokenKind::kDatetime
                                                       : TokenKind::kDate;
  const absl::StatusOr<int64_t> scalar = kind == TokenKind::kTime   ? ParseTimeOfDay(word)
                                         : kind == TokenKind::kDate ? ParseDate(word)
                                                                    : ParseDatetime(word);
  if (!scalar.ok()) {
    return FilterError(text_, at_, "{} {}", QuoteForError(word), Message(scalar.status()));
  }
  FilterToken token = Take(kind, word.size());
  token.scalar = *scalar;
  return token;
}

absl::StatusOr<FilterToken> FilterLexer::Quoted() {
  std::string value;
  size_t end = at_ + 1;
  for (;;) {
    const size_t quote = text_.find('\'', end);
    if (quote == std::string_view::npos) {
      return FilterError(text_, at_, "the text that begins here has no closing '");
    }
    value.append(text_.substr(end, quote - end));
    end = quote + 1;
    if (!text_.substr(end).starts_with('\'')) {
      break;
    }
    value.push_back('\'');
    ++end;
  }
  FilterToken token = Take(TokenKind::kString, end - at_);
  token.value = std::move(value);
  return token;
}

absl::StatusOr<FilterToken> FilterLexer::Binary() {
  const size_t start = at_ + std::string_view("binary'").size();
  const size_t quote = text_.find('\'', start);
  if (quote == std::string_view::npos) {
    return FilterError(text_, at_, "the text that begins here has no closing '");
  }
  auto value = DecodeBase64(text_.substr(start, quote - start));
  if (!value.has_value()) {
    return FilterError(text_, at_, "binary'...' holds no base64 (standard alphabet, padded)");
  }
  FilterToken token = Take(TokenKind::kBinary, quote + 1 - at_);
  token.value = *std::move(value);
  return token;
}

}  // namespace sluice::projectors
