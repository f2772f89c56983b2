#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "schemas/base/ids.h"

namespace sluice::gateways {

// Of a load: what may be appended before it is folded, so that others of its partition wait for a
// batch of it at most. A load of many organisations (tenants) has as much of each: each has a
// partition and a fold of its own, and offsets of one say nothing of another. Not thread-safe.
class AppliedGate {
 public:
  struct Applied {
    Offset next;        // below it everything of the organisation is folded
    bool here = false;  // by this process, which shares the machine with it
  };
  // How far the organisation is folded; nullopt: nobody says that he folds it.
  using Ask = std::function<std::optional<Applied>(const OrgId&)>;

  static constexpr size_t kHereBytesMax = size_t{4} << 20;
  // Another node tells how far it is only now and then.
  static constexpr size_t kElsewhereBytesMax = size_t{64} << 20;

  explicit AppliedGate(Ask ask) : ask_(std::move(ask)) {}

  // So much of the organisation was taken, up to that place in its partition of `changes`.
  void Note(const OrgId& org, Offset offset, size_t bytes);
  // Whether more of it may be appended. Open where nobody folds the organisation: nobody waits
  // then.
  [[nodiscard]] bool IsOpen(const OrgId& org);

 private:
  struct Taken {
    std::deque<std::pair<Offset, size_t>> sets;  // not folded as far as is known
    size_t bytes = 0;
  };

  const Ask ask_;
  std::map<OrgId, Taken> orgs_;
};

}  // namespace sluice::gateways
