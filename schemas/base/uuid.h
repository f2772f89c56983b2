#pragma once

#include <string>

#include "schemas/base/clock.h"

namespace sluice {

// A new UUIDv7 (RFC 9562, section 5.7) in its text form: 48 bits of Unix milliseconds from `clock`,
// then 74 random bits. Thread-safe.
[[nodiscard]] std::string NewUuid7(const Clock& clock);

}  // namespace sluice
