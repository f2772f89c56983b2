#include "projectors/provisioning/answered_requests.h"

#include <algorithm>
#include <string>

#include "schemas/base/text_codec.h"

namespace sluice::projectors {
namespace {

constexpr size_t kVersionAt = 14;

}  // namespace

std::optional<AnsweredRequests::Key> AnsweredRequests::KeyOf(std::string_view request_id) {
  if (request_id.size() != kUuidTextSize || request_id[kVersionAt] != '8') {
    return std::nullopt;
  }
  const std::optional<std::string> bytes = DecodeUuid(request_id);
  if (!bytes.has_value()) {
    return std::nullopt;
  }
  Key key{};
  std::ranges::copy(*bytes, key.begin());
  return key;
}

void AnsweredRequests::Add(const Directory::Outcome& outcome) {
  const std::optional<Key> key = KeyOf(outcome.request_id);
  if (!key.has_value() ||
      !answers_.try_emplace(*key, Answer{outcome.status, outcome.changes_offset, outcome.existed})
           .second) {
    return;
  }
  order_.push_back(*key);
  if (order_.size() > RequestLedger::kDecidedMax) {
    answers_.erase(order_.front());
    order_.pop_front();
  }
}

std::optional<Directory::Outcome> AnsweredRequests::Find(std::string_view request_id) const {
  const std::optional<Key> key = KeyOf(request_id);
  const auto found = key.has_value() ? answers_.find(*key) : answers_.end();
  if (found == answers_.end()) {
    return std::nullopt;
  }
  Directory::Outcome outcome;
  outcome.request_id = request_id;
  outcome.status = found->second.status;
  outcome.changes_offset = found->second.changes_offset;
  outcome.existed = found->second.existed;
  return outcome;
}

}  // namespace sluice::projectors
