#pragma once

#include <string>

#include "schemas/base/ids.h"

namespace sluice::projectors {

// The control event of a partition of `changes` that answers the newest request: `provisioning`
// must hold that request, or it has lost its end.
struct ControlMark {
  Offset at = kNoOffset;       // in `changes`; kNoOffset where there was none
  Offset answers = kNoOffset;  // in `provisioning`
  std::string id;              // the control event's
  friend bool operator==(const ControlMark&, const ControlMark&) = default;
};

}  // namespace sluice::projectors
