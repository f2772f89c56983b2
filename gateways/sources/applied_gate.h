#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <optional>
#include <utility>

#include "schemas/base/ids.h"

namespace sluice::gateways {

// Of a load: what may be appended before it is folded, so that others of its partition wait for a
// batch of it at most. Not thread-safe.
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

  AppliedGate(Ask ask, OrgId org) : ask_(std::move(ask)), org_(std::move(org)) {}

  // So much was taken, up to that place in `changes`.
  void Note(Offset offset, size_t bytes);
  // Whether more may be appended. Open where nobody folds the organisation: nobody waits then.
  [[nodiscard]] bool IsOpen();

 private:
  const Ask ask_;
  const OrgId org_;
  std::deque<std::pair<Offset, size_t>> sets_;  // taken, not folded as far as is known
  size_t bytes_ = 0;
};

}  // namespace sluice::gateways
