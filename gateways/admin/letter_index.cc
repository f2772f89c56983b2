#include "gateways/admin/letter_index.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "eventlog/log.h"
#include "schemas/base/sha256.h"

namespace sluice::gateways {
namespace {

constexpr size_t kIdBytesMax = 64;

bool IsPlain(std::string_view id) {
  return !id.empty() && id.size() <= kIdBytesMax && id != "." && id != ".." &&
         std::ranges::all_of(id, [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' ||
                  c == '-';
         });
}

}  // namespace

std::string LetterIdOf(const v1::DeadLetter& letter) {
  const std::string_view changes = eventlog::TopicName(eventlog::Topic::kChanges);
  if (letter.topic() == changes) {
    // An event can have several, of different operations.
    return fmt::format("{}-{}-{}-{}", changes, letter.partition(), letter.offset(),
                       letter.op_index());
  }
  if (IsPlain(letter.id())) {
    return letter.id();
  }
  const Sha256Digest digest = Sha256(letter.id());
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), digest.size() / 2});
}

void LetterIndex::Begin(PartitionId partition) {
  const absl::MutexLock lock(&mutex_);
  for (auto org = orgs_.begin(); org != orgs_.end();) {
    if (org->second.partition == partition) {
      const size_t before = org->second.letters.size();
      org->second.letters.clear();
      Resize(org, before);
      org = orgs_.erase(org);
    } else {
      ++org;
    }
  }
}

void LetterIndex::Apply(PartitionId partition, const std::vector<eventlog::StoredEvent>& events) {
  const absl::MutexLock lock(&mutex_);
  for (const eventlog::StoredEvent& event : events) {
    Take(partition, event);
  }
}

void LetterIndex::Take(PartitionId partition, const eventlog::StoredEvent& event) {
  v1::DeadLetter letter;
  if (!eventlog::ReadMessage(event.event, &letter)) {
    return;
  }
  const std::string id = LetterIdOf(letter);
  auto org = orgs_.find(event.event.key);
  if (org == orgs_.end()) {
    if (letter.handled()) {
      return;
    }
    org = orgs_.emplace(event.event.key, Org{.partition = partition, .letters = {}, .places = {}})
              .first;
  }
  Org& of = org->second;
  const size_t before = of.letters.size();
  const auto known = of.places.find(id);
  if (known != of.places.end()) {
    of.letters.erase(known->second);
    of.places.erase(known);
  }
  if (!letter.handled()) {
    of.letters.emplace(event.offset, id);
    of.places.emplace(id, event.offset);
  }
  Resize(org, before);
  if (of.letters.size() > limits_.per_org_max) {
    ForgetOldest(org);
  }
  if (size_ > limits_.letters_max) {
    ForgetOldest(orgs_.find(by_size_.rbegin()->second));
  }
  if (of.letters.empty() && !of.forgot) {
    orgs_.erase(org);
  }
}

void LetterIndex::Resize(Orgs::iterator org, size_t before) {
  const size_t now = org->second.letters.size();
  size_ = size_ - before + now;
  by_size_.erase({before, org->first});
  if (now > 0) {
    by_size_.emplace(now, org->first);
  }
}

void LetterIndex::ForgetOldest(Orgs::iterator org) {
  Org& of = org->second;
  const size_t before = of.letters.size();
  of.places.erase(of.letters.begin()->second);
  of.letters.erase(of.letters.begin());
  of.forgot = true;
  ++forgotten_;
  Resize(org, before);
}

LetterIndex::Page LetterIndex::List(const OrgId& org, Offset before, size_t count) const {
  Page page;
  const absl::MutexLock lock(&mutex_);
  const auto found = orgs_.find(org.value());
  if (found == orgs_.end()) {
    return page;
  }
  const std::map<Offset, std::string>& letters = found->second.letters;
  auto at = before == kNoOffset ? letters.end() : letters.lower_bound(before);
  while (at != letters.begin() && page.places.size() < count) {
    page.places.push_back((--at)->first);
  }
  page.more = at != letters.begin();
  page.forgot = found->second.forgot;
  return page;
}

std::optional<Offset> LetterIndex::Find(const OrgId& org, std::string_view id) const {
  const absl::MutexLock lock(&mutex_);
  const auto found = orgs_.find(org.value());
  if (found == orgs_.end()) {
    return std::nullopt;
  }
  const auto place = found->second.places.find(std::string(id));
  return place == found->second.places.end() ? std::nullopt : std::make_optional(place->second);
}

size_t LetterIndex::size() const {
  const absl::MutexLock lock(&mutex_);
  return size_;
}

uint64_t LetterIndex::forgotten() const {
  const absl::MutexLock lock(&mutex_);
  return forgotten_;
}

}  // namespace sluice::gateways
