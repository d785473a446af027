//! Packets from one network namespace of the host to another, through the appliance.

use std::time::Duration;

use anyhow::{Result, ensure};
use appliance::{Card, Case, Machine, Namespace, Vm, case, wait_for};

use crate::{BOOT, machine, provision};

const ARRIVES: Duration = Duration::from_secs(30);

#[test]
fn packets_pass_between_provisioned_links() {
    case("routes", |case| {
        let neighbours = Neighbours::new("routes")?;
        let mut machine = machine(case)?;
        provision(
            &mut machine,
            case,
            b"\
            [system]\n\
            hostname = \"between\"\n\
            [network.link.eth0]\n\
            role = \"wan\"\n\
            ipv4 = { method = \"static\", addresses = [\"192.0.2.2/24\"] }\n\
            ipv6 = { method = \"static\", addresses = [\"2001:db8:1::2/64\"] }\n\
            [network.link.eth1]\n\
            role = \"lan\"\n\
            ipv4 = { method = \"static\", addresses = [\"198.51.100.1/24\"] }\n\
            ipv6 = { method = \"static\", addresses = [\"2001:db8:2::1/64\"] }\n",
        )?;
        let mut vm = neighbours.start(machine, case)?;
        let Neighbours { wan, lan } = &neighbours;
        wan.ip("address add 192.0.2.1/24 dev wan")?;
        wan.ip("address add 2001:db8:1::1/64 dev wan nodad")?;
        wan.ip("route add 198.51.100.0/24 via 192.0.2.2")?;
        wan.ip("route add 2001:db8:2::/64 via 2001:db8:1::2")?;
        lan.ip("address add 198.51.100.7/24 dev lan")?;
        lan.ip("address add 2001:db8:2::7/64 dev lan nodad")?;
        lan.ip("route add default via 198.51.100.1")?;
        lan.ip("route add default via 2001:db8:2::1")?;
        let status = vm.wait_healthy("a", BOOT)?;
        ensure!(
            status.hostname == "between",
            "its name is {}",
            status.hostname
        );
        neighbours.reach("192.0.2.1", "2001:db8:1::1")
    });
}

#[test]
fn packets_pass_without_any_configuration() {
    case("default-routes", |case| {
        let neighbours = Neighbours::new("default")?;
        let mut vm = neighbours.start(machine(case)?, case)?;
        let Neighbours { wan, lan } = &neighbours;
        wan.ip("address add 192.0.2.1/24 dev wan")?;
        wan.ip("address add 2001:db8:1::1/64 dev wan nodad")?;
        wan.ip("route add 192.168.77.0/24 via 192.0.2.2")?;
        let leases = case.path("leases");
        let leases = format!("--dhcp-leasefile={}", leases.display());
        let _dnsmasq = wan.spawn(
            "dnsmasq",
            &[
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--pid-file",
                "--port=0",
                "--user=root",
                "--interface=wan",
                "--bind-interfaces",
                "--enable-ra",
                &leases,
                "--dhcp-range=192.0.2.2,192.0.2.2,1h",
                "--dhcp-range=2001:db8:1::,ra-only,64,1h",
                "--ra-param=wan,10",
            ],
        )?;
        lan.ip("address add 192.168.77.7/24 dev lan")?;
        lan.ip("route add default via 192.168.77.1")?;
        vm.wait_healthy("a", BOOT)?;
        let mac = vm.machine().mac(0);
        // The LAN's hosts make addresses from what the appliance advertises; the way back to them
        // is what a neighbouring router would know.
        wait_for("a router for the LAN's host", ARRIVES, || {
            let routes = lan.ip("-6 route show default")?;
            let address = lan.ip("-6 address show dev lan scope global")?;
            Ok(
                (routes.contains("via fe80") && address.contains("fd77:7777:7777:1:"))
                    .then_some(()),
            )
        })?;
        let link_local = wait_for("the appliance's link-local address", ARRIVES, || {
            let table = wan.ip("-6 neighbour show dev wan")?;
            let own = |line: &&str| line.starts_with("fe80") && line.contains(&mac);
            let address = |line: &str| line.split(' ').next().map(str::to_owned);
            Ok(table.lines().find(own).and_then(address))
        })?;
        wan.ip(&format!(
            "route add fd77:7777:7777:1::/64 via {link_local} dev wan"
        ))?;
        neighbours.reach("192.0.2.1", "2001:db8:1::1")
    });
}

/// The hosts on both sides of the appliance.
struct Neighbours {
    wan: Namespace,
    lan: Namespace,
}

impl Neighbours {
    fn new(name: &str) -> Result<Self> {
        let id = std::process::id();
        let wan = Namespace::new(&format!("x0-{name}-wan-{id}"))?;
        let lan = Namespace::new(&format!("x0-{name}-lan-{id}"))?;
        wan.tap("wan")?;
        wan.tap("lan")?;
        Ok(Self { wan, lan })
    }

    /// Starts the appliance between the two.
    fn start(&self, mut machine: Machine, case: &Case) -> Result<Vm> {
        machine.cards = ["wan", "lan"]
            .map(|name| Card::Tap { name: name.into() })
            .to_vec();
        let vm = Vm::start(machine, case.folder(), Some(self.wan.name()))?;
        self.wan.give("lan", &self.lan)?;
        Ok(vm)
    }

    /// Sends packets from the LAN to addresses of the WAN's host, and counts the router on the way.
    fn reach(&self, ipv4: &str, ipv6: &str) -> Result<()> {
        for address in [ipv4, ipv6] {
            wait_for(&format!("an answer from {address}"), ARRIVES, || {
                let answer = self.lan.run("ping", &["-n", "-c", "1", "-W", "1", address]);
                let Ok(answer) = answer else { return Ok(None) };
                ensure!(
                    answer.contains("ttl=63"),
                    "it came by another way: {answer}"
                );
                Ok(Some(()))
            })?;
        }
        Ok(())
    }
}
