# Shows what a device is. Each part begins with a line "@$token NAME" and holds a file or the output of a command as it
# is; what cannot be read is left out. Set before: token, home. Needs no tool but cat, head and df; reads, changes nothing.
exec 2>/dev/null
part() {
  echo "
@$token $1"
}
show() {
  for file do
    # Opened, not asked about: under emulation only that finds the files of the emulated board.
    command : <"$file" && [ ! -d "$file" ] && part "$file" && cat "$file"
  done
}
told() {
  command -v "$1" >/dev/null && part "$*" && "$@" </dev/null
}
part shell
head -c 20 "$([ -e /system/bin/sh ] && echo /system/bin/sh || echo /bin/sh)"
told uname -s
told uname -r
told uname -m
told date +%s
part parent
cat "/proc/$PPID/cmdline"
part user
echo "${USER:-}"
part df
df -k "$home"
show /proc/cpuinfo /proc/meminfo /proc/loadavg /proc/mounts /proc/sys/kernel/random/boot_id /etc/os-release \
  /sys/firmware/devicetree/base/model /sys/firmware/devicetree/base/compatible /proc/device-tree/model \
  /proc/device-tree/compatible /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name \
  /sys/devices/platform/soc/soc:firmware/get_throttled
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
  show "$cpu/online" "$cpu/cpu_capacity" "$cpu/cpufreq/cpuinfo_max_freq" "$cpu/cpufreq/scaling_cur_freq" \
    "$cpu/cpufreq/scaling_max_freq" "$cpu/cpufreq/scaling_governor"
done
for zone in /sys/class/thermal/thermal_zone*; do
  show "$zone/type" "$zone/temp"
done
for supply in /sys/class/power_supply/*; do
  show "$supply/type" "$supply/capacity" "$supply/status"
done
told vcgencmd get_throttled
told vcgencmd measure_temp
if command -v getprop >/dev/null; then
  for key in ro.product.manufacturer ro.product.model ro.soc.model ro.board.platform ro.product.cpu.abi \
    ro.build.version.release ro.build.version.sdk; do
    part "getprop $key"
    getprop "$key"
  done
  told dumpsys battery
  told dumpsys power
fi
told getconf GNU_LIBC_VERSION
for libc in /lib/*/libc.so.6 /lib64/libc.so.6 /lib/libc.so.6 /usr/lib/*/libc.so.6; do
  [ -x "$libc" ] && part libc.so.6 && "$libc" </dev/null
done
for loader in /lib/ld-musl-*.so.1; do
  [ -e "$loader" ] && part musl
done
command -v python3 >/dev/null && part python && python3 -c '
import json, platform
from importlib.metadata import PackageNotFoundError, version
def found(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None
names = ("numpy", "ai-edge-litert", "tflite-runtime", "onnxruntime")
print(json.dumps({"python": platform.python_version(), "packages": {name: found(name) for name in names}}))
' </dev/null
part end
exit 0
