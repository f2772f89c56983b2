// What most tests include, as ops/cmake/precompiled.h has it for the product.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/cmake/precompiled.h"
