#pragma once

#include <string>

#include "eventlog/event.h"
#include "schemas/base/ids.h"

namespace sluice::eventlog {

inline constexpr PartitionId kP0{0};

// An event of which the test looks at the value alone.
inline Event MakeEvent(const std::string& value) {
  Event event;
  event.id = value;
  event.value = value;
  return event;
}

}  // namespace sluice::eventlog
