#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/status/statusor.h"
#include "gateways/odata/entity_mapper.h"
#include "gateways/outbound/url.h"

// The URLs that a service is asked by, and the links that it answers with. Pure.
namespace sluice::gateways {

// A service's root with a slash behind its path. Its query, which SAP systems have ("sap-client"),
// goes into every URL that is made from it.
[[nodiscard]] absl::StatusOr<Url> ServiceRoot(std::string_view url);

[[nodiscard]] std::string MetadataUrl(const Url& root);

// All rows of a set. `count`: the service is to say how many there are. `ordered`: by their keys.
[[nodiscard]] std::string LoadUrl(const Url& root, const MappedEntity& entity, bool count,
                                  bool ordered);

// All rows of a set, with nothing but their keys.
[[nodiscard]] std::string KeysUrl(const Url& root, const MappedEntity& entity, bool ordered);

// The rows whose property `modified` (a DateTimeOffset of the first level) is not below `since_us`,
// microseconds since 1970 UTC, in the order of that and the key.
[[nodiscard]] std::string PollUrl(const Url& root, const MappedEntity& entity,
                                  std::string_view modified, int64_t since_us);

// Which links of one load are followed. Remembers 64 bits of each, a million at most. Not
// thread-safe.
class LinkRule {
 public:
  // `link_hosts`: hosts beside the root's that links may lead to, in lower case, by the port of
  // their scheme.
  LinkRule(Url root, std::vector<std::string> link_hosts)
      : root_(std::move(root)), link_hosts_(std::move(link_hosts)) {}

  // What `link` means in the answer to `from`. kFailedPrecondition: "link_elsewhere" for another
  // host or from https to http, "link_loop" for one that was followed before,
  // "source_answer_invalid" for what is no URL, "too_many_links".
  [[nodiscard]] absl::StatusOr<Url> Follow(const Url& from, std::string_view link);

 private:
  const Url root_;
  const std::vector<std::string> link_hosts_;
  std::unordered_set<uint64_t> seen_;
};

}  // namespace sluice::gateways
