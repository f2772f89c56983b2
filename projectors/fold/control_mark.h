#pragma once

#include "projectors/fold/record.h"
